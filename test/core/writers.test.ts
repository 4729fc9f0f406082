import { describe, expect, test } from "vitest";
import type { Manifest, StoredManifest } from "../../src/core/manifest.ts";
import { describeOddities } from "../../src/core/writers.ts";
import { continuing, exampleManifest } from "../support/backups.ts";

function stored(number: number, fields: Partial<Manifest>): StoredManifest {
  const manifest = exampleManifest(number, { sequence: number, ...fields });
  return { manifest, key: `manifests/${number}`, sha256: number.toString(16).padStart(64, "0") };
}

const MINE = "mine";
const base = stored(1, { writer: MINE });
const next = stored(2, { ...continuing(base), sequence: 2, writer: MINE });

function odd(...more: StoredManifest[]): string[] {
  return describeOddities([base, next, ...more], { all: [...more, next, base], own: MINE });
}

describe("describeOddities()", () => {
  test("has nothing to say of what one machine signed, or nobody", () => {
    expect(odd(stored(3, { writer: MINE }))).toEqual([]);
    const unsigned = [1, 2, 3].map((number) => stored(number, { writer: null }));
    expect(describeOddities(unsigned, { all: unsigned, own: undefined })).toEqual([]);
    // Signing has begun.
    const signed = [...unsigned, stored(4, { writer: MINE })];
    expect(describeOddities(signed, { all: signed, own: MINE })).toEqual([]);
  });

  test("names a base that somebody else made, or nobody signed, after those of the machine", () => {
    for (const writer of [null, "another"]) {
      const forged = stored(3, { writer });
      const warnings = odd(forged);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain(
        `${forged.manifest.backupId} was not signed by the machine that signed ${next.manifest.backupId}`,
      );
      // Nor does it help to write two of them.
      const second = stored(4, { writer });
      expect(odd(forged, second)[1]).toContain(second.manifest.backupId);
      // The one that was before it is known, also where only the base is asked for.
      expect(describeOddities([forged], { all: [base, next, forged], own: MINE })).toEqual(
        warnings,
      );
    }
  });

  test("is not deceived by another backup that has the id of the parent", () => {
    const forged = stored(3, { ...continuing(next), sequence: 3, writer: null });
    const twin = { ...next, sha256: "f".repeat(64), manifest: { ...next.manifest, writer: null } };
    for (const all of [
      [base, next, twin, forged],
      [base, twin, next, forged],
    ]) {
      expect(describeOddities([base, next, forged], { all, own: MINE })).toHaveLength(1);
    }
  });

  test("holds no disk against another", () => {
    expect(odd(stored(3, { writer: "another", vmId: "another" }))).toEqual([]);
    const disk = { ...base.manifest.disk, name: "another" };
    expect(odd(stored(3, { writer: "another", disk }))).toEqual([]);
  });
});
