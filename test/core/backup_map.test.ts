import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  applyMap,
  type BackupMap,
  decodeMap,
  encodeMap,
  synthesizeBase,
} from "../../src/core/backup_map.ts";
import { chainOf, inChainOrder } from "../../src/core/chain.ts";
import { encodeManifest, keyOfManifest, type StoredManifest } from "../../src/core/manifest.ts";
import { planRemoval } from "../../src/core/removal_plan.ts";
import { sidecarKey } from "../../src/core/sidecar_key.ts";
import { continuing, exampleManifest } from "../support/backups.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;
const number = (seed: number) => seed.toString(16).padStart(64, "0");

function stored(sequence: number, parent?: StoredManifest): StoredManifest {
  const index = {
    name: number(sequence),
    sizeBytes: 1,
    firstBlock: 0,
    blockCount: 1,
    frameCount: 1,
  };
  const fields = { ...continuing(parent), blockCount: 10 + sequence, indexes: [index], sequence };
  const manifest = exampleManifest(sequence, fields);
  const digest = sha256(encodeManifest(manifest, sha256));
  return { manifest, key: keyOfManifest(manifest, sha256), sha256: digest };
}

/** A repository of manifests and maps, as plain as can be. */
class Model {
  readonly manifests = new Map<string, StoredManifest>();
  readonly maps = new Map<string, BackupMap>();

  add(one: StoredManifest): void {
    this.manifests.set(one.key, one);
  }

  put({ stored: { key }, map }: { stored: StoredManifest; map: BackupMap }): void {
    expect(map.version).toBe((this.maps.get(key)?.version ?? 0) + 1);
    const object = sidecarKey({ folder: "maps", manifestKey: key, version: map.version });
    this.maps.set(key, decodeMap({ object, bytes: encodeMap(map, sha256) }, sha256));
  }

  list(): StoredManifest[] {
    const all = [...this.manifests.values()].map((one) => {
      const map = this.maps.get(one.key);
      return map ? applyMap(one, { object: "a map", map }) : one;
    });
    return inChainOrder(all);
  }

  /** Of each backup: the index objects that it is made of, in their order. */
  contents(): Map<string, string[]> {
    const all = this.list();
    return new Map(all.map((one) => [idOf(one), contentOf(all, idOf(one))]));
  }
}

function contentOf(all: StoredManifest[], id: string): string[] {
  return chainOf(all, id).flatMap(({ manifest }) =>
    manifest.indexes.map(
      ({ name, diskBlocks }) => `${name} of ${diskBlocks ?? manifest.blockCount}`,
    ),
  );
}

/** Backups of one disk; each continues an earlier one, or nothing. */
const anyFamily = fc
  .array(fc.option(fc.nat(30), { nil: undefined }), { minLength: 1, maxLength: 14 })
  .map((parents) => {
    const all: StoredManifest[] = [];
    for (const [sequence, back] of parents.entries()) {
      const parent = back === undefined ? undefined : all.at(-1 - (back % 3));
      all.push(stored(sequence, parent));
    }
    return all;
  });

const anyStep = fc.oneof(
  fc.record({
    kind: fc.constant("remove" as const),
    which: fc.array(fc.nat(20), { maxLength: 5 }),
  }),
  fc.record({ kind: fc.constant("rebase" as const), which: fc.nat(20) }),
);

describe("removing and rebasing backups of chains", () => {
  test("leaves each other backup made of what it was made of, after every single put", () => {
    fc.assert(
      fc.property(anyFamily, fc.array(anyStep, { maxLength: 8 }), (family, steps) => {
        const model = new Model();
        for (const one of family) model.add(one);
        const expected = model.contents();
        const check = () => {
          for (const [id, content] of model.contents()) {
            // Older ones drop off where a newer index object of the same... they never do here.
            expect(content).toEqual(expected.get(id));
          }
        };
        for (const step of steps) {
          const all = model.list();
          if (all.length === 0) return;
          if (step.kind === "rebase") {
            const one = all[step.which % all.length]!;
            model.put({ stored: one, map: synthesizeBase(chainOf(all, idOf(one))) });
            check();
            expect(model.list().find((it) => idOf(it) === idOf(one))?.manifest.type).toBe("base");
            continue;
          }
          const wanted = new Set(step.which.map((at) => idOf(all[at % all.length]!)));
          const plan = planRemoval(all, wanted);
          for (const change of [...plan.close, ...plan.fold]) {
            model.put(change);
            check();
          }
          for (const { key } of plan.remove) {
            model.manifests.delete(key);
            check();
          }
          expect(model.list().map(idOf)).toEqual(all.map(idOf).filter((id) => !wanted.has(id)));
        }
      }),
      { numRuns: 500 },
    );
  });

  test("is carried on by whoever finds it, wherever it broke off", () => {
    fc.assert(
      fc.property(
        anyFamily,
        fc.array(fc.nat(20), { minLength: 1 }),
        fc.nat(40),
        (family, which, after) => {
          const model = new Model();
          for (const one of family) model.add(one);
          const expected = model.contents();
          const wanted = new Set(which.map((at) => idOf(family[at % family.length]!)));
          const first = planRemoval(model.list(), wanted);
          const puts = [...first.close, ...first.fold];
          for (const change of puts.slice(0, after)) model.put(change);
          for (const { key } of first.remove.slice(0, Math.max(0, after - puts.length))) {
            model.manifests.delete(key);
          }
          const closed = model.list().filter(({ map }) => map?.removing);
          // Another one, who wants nothing removed.
          const second = planRemoval(model.list(), new Set());
          expect(second.close).toEqual([]);
          for (const change of second.fold) model.put(change);
          for (const { key } of second.remove) model.manifests.delete(key);
          for (const [id, content] of model.contents()) expect(content).toEqual(expected.get(id));
          const left = new Set(model.list().map(idOf));
          expect(closed.some((one) => left.has(idOf(one)))).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("gives a child that came meanwhile what its removed parent held", () => {
    const base = stored(1);
    const newest = stored(2, base);
    const late = stored(3, newest);
    const plan = planRemoval([base, late], new Set(), [newest]);
    expect(plan.fold).toHaveLength(1);
    const now = applyMap(late, { object: "a map", map: plan.fold[0]!.map });
    expect(contentOf([base, now], idOf(now))).toEqual(contentOf([base, newest, late], idOf(late)));
  });
});

describe("a map", () => {
  const [base, first] = [stored(1), stored(2, stored(1))];
  const [second, third] = [stored(3, first), stored(4, stored(3, first))];
  const plan = planRemoval([base, first, second, third], new Set([idOf(first), idOf(second)]));
  const { map } = plan.fold[0]!;
  const object = sidecarKey({ folder: "maps", manifestKey: third.key, version: 1 });
  const tryMap = (changed: Partial<BackupMap>) => () =>
    applyMap(third, { object, map: { ...map, ...changed } });

  test("lets the hash chain be walked through the removed backups", () => {
    expect(map.removed.map(({ backupId }) => backupId)).toEqual([idOf(first), idOf(second)]);
    expect(tryMap({})().manifest).toMatchObject({ type: "incremental", parentId: idOf(base) });
  });

  test("is refused when it is of another backup, or leads elsewhere", () => {
    const refused: Partial<BackupMap>[] = [
      { backupId: idOf(second) },
      { manifestSha256: number(7) },
      { parentSha256: number(7) },
      { parentSha256: null },
      { parentSequence: null },
      { parentSequence: 2 },
      { removed: [] },
      { removed: map.removed.toReversed() },
      { removed: map.removed.slice(1) },
      { removed: map.removed.map((link) => ({ ...link, sha256: number(7) })) },
      { removed: map.removed.map((link) => ({ ...link, sequence: 9 })) },
    ];
    for (const changed of refused) {
      expect(tryMap(changed)).toThrow(expect.objectContaining({ code: "CORRUPT_DATA" }));
    }
  });

  test("is refused in the place of another version, and when it was cut", () => {
    const bytes = encodeMap(map, sha256);
    expect(decodeMap({ object, bytes }, sha256)).toEqual(map);
    const other = sidecarKey({ folder: "maps", manifestKey: third.key, version: 2 });
    for (const damaged of [
      { object: other, bytes },
      { object, bytes: bytes.subarray(0, -1) },
    ]) {
      expect(() => decodeMap(damaged, sha256)).toThrow(
        expect.objectContaining({ code: "CORRUPT_DATA" }),
      );
    }
  });
});
