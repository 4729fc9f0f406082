import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isBackupId, makeBackupId } from "../../src/core/backup_id.ts";
import { chainOf, inChainOrder, newestOf, selectBackup } from "../../src/core/chain.ts";
import { keyOfManifest, type Manifest, type StoredManifest } from "../../src/core/manifest.ts";
import { diskTagOf, nextSequence } from "../../src/core/manifest_key.ts";
import { IbackupError } from "../../src/errors.ts";
import { continuing, exampleManifest } from "../support/backups.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

function storedAs(manifest: Manifest, number: number): StoredManifest {
  const digest = number.toString(16).padStart(64, "0");
  return { manifest, key: keyOfManifest(manifest, sha256), sha256: digest };
}

function stored(
  number: number,
  parent?: StoredManifest,
  fields: Partial<Manifest> = {},
): StoredManifest {
  const manifest = exampleManifest(number, { ...continuing(parent), ...fields });
  return storedAs(manifest, number);
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
        /has sequence 2 and continues 1, and its parent .* has 5/,
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
    const circle = { ...left, manifest: { ...left.manifest, ...continuing(right), sequence: 4 } };
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

  test("has gaps where backups were removed from the middle", () => {
    const later = stored(9, first, { sequence: 9 });
    const child = stored(10, later);
    expect(chainOf([child, later, first, base], idOf(child))).toEqual([base, first, later, child]);
  });

  // Methodology: each disk is a list in the order in which its backups were taken, with instants
  // that a clock may have said. Whatever the instants are, that order is the answer.
  const instant = fc.date({ min: new Date(0), max: new Date("2100-01-01"), noInvalidDate: true });
  const disks = fc.array(fc.array(fc.tuple(instant, fc.boolean()), { maxLength: 12 }), {
    minLength: 1,
    maxLength: 4,
  });

  test("of each disk is that in which they were taken, whatever the clocks said", () => {
    fc.assert(
      fc.property(disks, fc.infiniteStream(fc.nat()), (taken, order) => {
        const lines = taken.map((backups, disk) => lineOf(`disk-${disk}`, backups));
        const listed = inChainOrder(shuffled(lines.flat(), order));
        for (const [disk, line] of lines.entries()) {
          const scope = { diskName: `disk-${disk}` };
          const ofDisk = listed.filter(({ manifest }) => manifest.disk.name === scope.diskName);
          expect(ofDisk).toEqual(line);
          expect(newestOf(listed, scope)).toBe(line.at(-1));
        }
      }),
    );
  });

  test("of disks whose clocks never went back is that of the instants", () => {
    fc.assert(
      fc.property(disks, (taken) => {
        const lines = taken.map((backups, disk) => {
          const ascending = backups.toSorted(([left], [right]) => left.valueOf() - right.valueOf());
          return lineOf(`disk-${disk}`, ascending);
        });
        const instants = inChainOrder(lines.flat()).map(({ manifest }) => manifest.capturedAt);
        expect(instants).toEqual(instants.toSorted());
      }),
    );
  });

  test("makes --at mean the last one taken among those that are not later", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(instant, fc.boolean()), { maxLength: 12 }),
        instant,
        (taken, at) => {
          const line = lineOf("vda", taken);
          const wanted = line.findLast(({ manifest }) => manifest.capturedAt <= at.toISOString());
          const select = () => selectBackup(inChainOrder(line.toReversed()), { at });
          if (wanted) expect(select()).toBe(wanted);
          else expect(failureOf(select).code).toBe("BACKUP_UNKNOWN");
        },
      ),
    );
  });
});

/** Backups of one disk in the order in which they were taken; true: a base. */
function lineOf(diskName: string, taken: readonly [Date, boolean][]): StoredManifest[] {
  const line: StoredManifest[] = [];
  for (const [number, [at, isBase]] of taken.entries()) {
    const capturedAt = at.toISOString();
    const disk = { ...base.manifest.disk, name: diskName };
    line.push(stored(number, isBase ? undefined : line.at(-1), { disk, capturedAt }));
  }
  return line;
}

function shuffled<T>(items: readonly T[], order: Iterator<number>): T[] {
  return items
    .map((item) => ({ item, at: order.next().value as number }))
    .sort((left, right) => left.at - right.at)
    .map(({ item }) => item);
}

describe("the place of the next backup", () => {
  const tag = diskTagOf({ vmId: "vm-1", diskName: "vda" }, sha256);

  test("comes after all of the same disk, whatever is missing between them", () => {
    const keys = [base, second, other].map(({ key }) => key);
    expect(nextSequence([], tag)).toBe(0);
    expect(nextSequence(keys, tag)).toBe(4);
    expect(nextSequence([...keys, "manifests/other", `manifests/${tag}/77`], tag)).toBe(4);
  });

  test("has a tag that no other disk of any VM has", () => {
    const tagOf = (vmId: string, diskName: string) => diskTagOf({ vmId, diskName }, sha256);
    expect(tag).toBe(sha256(new TextEncoder().encode("vm-1\0vda")).slice(0, 32));
    expect(new Set([tag, tagOf("vm-1", "vdb"), tagOf("vm-1v", "da")]).size).toBe(3);
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
    const twin = { ...other, manifest: { ...other.manifest, backupId: idOf(first) } };
    const twins = [...ALL, twin];
    const { vmId } = twin.manifest;
    expect(failureOf(() => selectBackup(twins, { id: idOf(first) })).why).toMatch(
      new RegExp(`2 have that id; say which: --vm .* --disk .*, or --vm ${vmId} --disk `),
    );
    expect(selectBackup(twins, { id: idOf(first) }, { vmId })).toBe(twin);
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
