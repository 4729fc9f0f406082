import { describe, expect, test } from "vitest";
import { rulesFor } from "../../src/core/store_settings.ts";

const NOW = new Date("2026-11-22T12:00:00Z");
const SETTINGS = {
  storageClass: "COLD",
  lock: { mode: "compliance", retainMs: 86_400_000 },
  encryption: { kind: "AES256" },
  tags: { a: "b" },
} as const;

describe("rulesFor()", () => {
  // A day and a quarter.
  const lock = { mode: "compliance", until: new Date("2026-11-23T18:00:00Z") };
  const always = { encryption: SETTINGS.encryption, tags: SETTINGS.tags };

  test.each([
    ["packs/aa/x", { storageClass: "COLD", lock }],
    ["indexes/x", { lock }],
    ["manifests/x/1", { lock }],
    ["repository", { lock }],
    ["leases/x/1", {}],
    ["claims/manifests/x/1/y", {}],
    ["probe-0", {}],
    ["condition", {}],
  ])("of %s", (key, rules) => {
    expect(rulesFor(key, SETTINGS, NOW)).toEqual({ ...always, ...rules });
  });

  test("are none where nothing was asked", () => {
    expect(rulesFor("packs/aa/x", {}, NOW)).toEqual({});
  });
});
