import { describe, expect, test } from "vitest";
import { isBackupId, makeBackupId } from "../../src/core/backup_id.ts";
import { chainOf, inChainOrder, newestOf, selectBackup } from "../../src/core/chain.ts";
import type { Manifest, StoredManifest } from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { continuing, exampleManifest } from "../support/backups.ts";

function stored(
  number: number,
  parent?: StoredManifest,
  fields: Partial<Manifest> = {},
): StoredManifest {
  const manifest = exampleManifest(number, { ...continuing(parent), ...fields });
  return { manifest, sha256: number.toString(16).padStart(64, "0") };
}

const base = stored(1);
const first = stored(2, base);
const second = stored(3, first);
const other = stored(4, undefined, { vmId: "vm-2" });
const ALL = [base, first, second, other];
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

function failureOf(work: () => unknown): IbackupError {
  try {
    work();
  } catch (error) {
    if (error instanceof IbackupError) return error;
    throw error;
  }
  throw new Error("It did not fail");
}

describe("makeBackupId()", () => {
  test("gives the UTC second and the suffix", () => {
    const id = makeBackupId(new Date("2026-11-22T17:01:02.999Z"), "6f3a9c1d");
    expect(id).toBe("20261122T170102Z-6f3a9c1d");
    expect(isBackupId(id)).toBe(true);
  });

  test("is what isBackupId() knows, and nothing else is", () => {
    for (const id of ["", "../x", "20261122T170102Z-6f3a9c1", "20261122T170102Z-6F3A9C1D"]) {
      expect(isBackupId(id)).toBe(false);
    }
    expect(() => makeBackupId(new Date(0), "no hex")).toThrow(/eight hexadecimal digits/);
  });
});

describe("chainOf()", () => {
  test("gives the base first and the backup last", () => {
    expect(chainOf(ALL, idOf(second))).toEqual([base, first, second]);
    expect(chainOf(ALL, idOf(base))).toEqual([base]);
  });

  test("refuses a chain whose parent is gone, replaced or does not fit", () => {
    const broken: [RegExp, StoredManifest[]][] = [
      [/parent .* is missing/, [first, second]],
      [/not the one that it continues/, [{ ...base, sha256: "f".repeat(64) }, first]],
      [
        /has sequence 1 and its parent .* has 5/,
        [{ ...base, manifest: { ...base.manifest, sequence: 5 } }, first],
      ],
      [
        /is of disk "vda" of "vm-9"/,
        [{ ...base, manifest: { ...base.manifest, vmId: "vm-9" } }, first],
      ],
      [
        /its blocks have 4096 bytes/,
        [{ ...base, manifest: { ...base.manifest, blockBytes: 8192 } }, first],
      ],
    ];
    for (const [why, all] of broken) {
      const newest = all.at(-1)!;
      const error = failureOf(() => chainOf(all, idOf(newest)));
      expect(error.code).toBe("CORRUPT_DATA");
      expect(error.why).toMatch(why);
    }
  });

  test("ends although two manifests name each other as parents", () => {
    const left = stored(7, second);
    const right = stored(8, left);
    const circle = { ...left, manifest: { ...left.manifest, ...continuing(right) } };
    expect(failureOf(() => chainOf([circle, right], idOf(right))).code).toBe("CORRUPT_DATA");
    expect(inChainOrder([circle, right])).toHaveLength(2);
  });

  test("does not know a backup that is not there", () => {
    expect(failureOf(() => chainOf(ALL, "20200101T000000Z-00000000")).code).toBe("BACKUP_UNKNOWN");
  });
});

describe("the order of backups", () => {
  test("puts a parent before its child although the clock went back in between", () => {
    const early = stored(0, second);
    expect(inChainOrder([early, second, first, base])).toEqual([base, first, second, early]);
    expect(newestOf(inChainOrder([early, second, first, base]))).toBe(early);
  });
});

describe("selectBackup()", () => {
  test("takes the newest in scope", () => {
    expect(selectBackup(ALL, "latest")).toBe(other);
    expect(selectBackup(ALL, "latest", { vmId: "vm-1" })).toBe(second);
    expect(failureOf(() => selectBackup(ALL, "latest", { vmId: "vm-3" })).code).toBe(
      "BACKUP_UNKNOWN",
    );
  });

  test("takes an id or the beginning that only one id has", () => {
    expect(selectBackup(ALL, { id: idOf(first) })).toBe(first);
    expect(selectBackup(ALL, { id: idOf(first).slice(0, 16) })).toBe(first);
    expect(failureOf(() => selectBackup(ALL, { id: "2026" })).why).toMatch(/4 backups begin so/);
    expect(failureOf(() => selectBackup(ALL, { id: "1999" })).code).toBe("BACKUP_UNKNOWN");
  });

  test("takes the newest that is not later than a time", () => {
    const scope = { vmId: "vm-1" };
    const at = (text: string) => ({ at: new Date(text) });
    expect(selectBackup(ALL, at("2026-11-22T00:00:02.500Z"), scope)).toBe(first);
    expect(selectBackup(ALL, at("2026-11-22T00:00:03.000Z"), scope)).toBe(second);
    expect(failureOf(() => selectBackup(ALL, at("2020-01-01"), scope)).why).toMatch(/later time/);
  });
});
