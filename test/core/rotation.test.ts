import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { takeTurns } from "../../src/core/rotation.ts";

const anyPacks = fc.uniqueArray(
  fc.record({
    name: fc.nat(0xffff).map((it) => it.toString(16).padStart(4, "0")),
    sizeBytes: fc.integer({ min: 1, max: 99 }),
  }),
  { minLength: 1, maxLength: 40, selector: ({ name }) => name },
);

describe("takeTurns()", () => {
  test("comes to each in turn, and to none twice before all had theirs", () => {
    fc.assert(
      fc.property(anyPacks, fc.integer({ min: 1, max: 100 }), (all, percent) => {
        const share = percent / 100;
        const seen: string[] = [];
        let last = "";
        while (seen.length < all.length) {
          const turns = takeTurns(all, { share, last });
          seen.push(...turns.map(({ name }) => name));
          last = seen.at(-1) ?? "";
        }
        expect(new Set(seen.slice(0, all.length)).size).toBe(all.length);
      }),
    );
  });

  test("takes what makes up the share, and not one more", () => {
    fc.assert(
      fc.property(anyPacks, fc.integer({ min: 1, max: 100 }), (all, percent) => {
        const total = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        const turns = takeTurns(all, { share: percent / 100, last: "7" });
        const bytes = turns.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
        expect(bytes + 1e-6).toBeGreaterThanOrEqual((total * percent) / 100);
        expect(bytes - (turns.at(-1)?.sizeBytes ?? 0)).toBeLessThan((total * percent) / 100 + 1e-6);
      }),
    );
  });

  test("begins again after the last one, and with nothing there is nothing", () => {
    const all = ["a", "b", "c"].map((name) => ({ name, sizeBytes: 1 }));
    expect(takeTurns(all, { share: 0.3, last: "c" }).map(({ name }) => name)).toEqual(["a"]);
    expect(takeTurns(all, { share: 0.6, last: "bb" }).map(({ name }) => name)).toEqual(["c", "a"]);
    expect(takeTurns([], { share: 0.5, last: "" })).toEqual([]);
  });
});
