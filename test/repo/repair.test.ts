import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import type { BlockSet } from "../../src/core/block_set.ts";
import { chainOf } from "../../src/core/chain.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { repairChain } from "../../src/repo/repair.ts";
import { BLOCK_BYTES, content, newRepository, restore, takeBackup } from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 200;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

async function chain() {
  const store = new MemoryStore();
  const repository = await newRepository(store);
  const disk = content(BLOCKS, 1);
  const images: Uint8Array[] = [];
  const backups: StoredManifest[] = [];
  for (const [firstBlock, blockCount] of [
    [0, BLOCKS],
    [10, 90],
    [50, 100],
    [70, 5],
  ] as const) {
    const bytes = content(blockCount, 5 + backups.length);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    const parent = backups.at(-1);
    const change = { firstBlock, blockCount, bytes };
    backups.push(await takeBackup(repository, { blockCount: BLOCKS, parent }, [change]));
    images.push(disk.slice());
  }
  const names: string[] = [];
  for (const { manifest } of backups) {
    const [pack] = await repository.indexes.packs(manifest, manifest.indexes[0]!);
    names.push(pack!.name);
  }
  return { store, repository, images, backups, names };
}

/** A disk as it is now. Of blocks of which `isKnown` says no it is certain of nothing. */
function proofOf(disk: Uint8Array, isKnown: (block: number) => boolean = () => true) {
  return async function* prove(lost: BlockSet) {
    for (const { firstBlock, blockCount } of lost.extents()) {
      for (let block = firstBlock; block < firstBlock + blockCount; block++) {
        const bytes = disk.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
        if (isKnown(block)) yield { firstBlock: block, blockCount: 1, bytes };
      }
    }
  };
}

describe("repairing a chain", () => {
  test("gives back what the disk still proves, to each backup that had it", async () => {
    for (const which of [[0], [1], [2], [3], [0, 1, 2, 3]]) {
      const { store, repository, images, backups, names } = await chain();
      const damaged = new Set(which.map((at) => names[at]!));
      for (const name of damaged) store.objects.delete(`packs/${name.slice(0, 2)}/${name}`);
      const newest = backups.at(-1)!;
      const before = chainOf(await repository.manifests(), idOf(newest));
      await expect(restore(repository, before)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
      const result = await repairChain(repository, before, { damaged, prove: proofOf(images[3]!) });
      expect(result.blocksRepaired).toBe(result.blocksLost);
      expect(result.blocksLost).toBeGreaterThan(0);
      const all = await repository.manifests();
      const found = await restore(repository, chainOf(all, idOf(newest)));
      expect(Buffer.compare(found, images[3]!)).toBe(0);
      // Older ones: what they had in common with the newest is right again, the rest stays damage.
      for (const [number, one] of backups.entries()) {
        const lost: number[] = [];
        const partial = await restore(repository, chainOf(all, idOf(one)), {
          onDamage: ({ extents }) => {
            for (const { firstBlock, blockCount } of extents) {
              for (let block = 0; block < blockCount; block++) lost.push(firstBlock + block);
            }
          },
        });
        for (let block = 0; block < BLOCKS; block++) {
          if (lost.includes(block)) continue;
          const range = [block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES] as const;
          const same = Buffer.compare(
            partial.subarray(...range),
            images[number]!.subarray(...range),
          );
          expect(same, `block ${block} of ${number}`).toBe(0);
        }
      }
    }
  });

  test("stores nothing that is not proven", async () => {
    const { store, repository, images, backups, names } = await chain();
    const damaged = new Set([names[0]!]);
    store.objects.delete(`packs/${names[0]!.slice(0, 2)}/${names[0]}`);
    const prove = proofOf(images[3]!, (block) => block % 2 === 0);
    const before = chainOf(await repository.manifests(), idOf(backups[3]!));
    const result = await repairChain(repository, before, { damaged, prove });
    expect(result.blocksRepaired).toBe(result.blocksLost / 2);
    const none = proofOf(images[3]!, () => false);
    const now = chainOf(await repository.manifests(), idOf(backups[3]!));
    const maps = [...store.objects.keys()].filter((key) => key.startsWith("maps/"));
    expect(await repairChain(repository, now, { damaged, prove: none })).toEqual({
      blocksLost: result.blocksLost / 2,
      blocksRepaired: 0,
    });
    expect([...store.objects.keys()].filter((key) => key.startsWith("maps/"))).toEqual(maps);
  });
});
