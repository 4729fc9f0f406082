import { Buffer } from "node:buffer";
import { beforeEach, describe, expect, test } from "vitest";
import type { BlockExtent } from "../../src/core/extent.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { type Damage, planReads } from "../../src/repo/block_reader.ts";
import { openRepository } from "../../src/repo/repository.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  replay,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 400;
const OWN: BlockExtent = { firstBlock: 100, blockCount: 50 };

let store: MemoryStore;
let base: StoredManifest;
let child: StoredManifest;
let disk: Uint8Array;

beforeEach(async () => {
  store = new MemoryStore();
  const repository = await newRepository(store);
  const first = content(BLOCKS, 1);
  first.fill(0, 0, 10 * BLOCK_BYTES);
  base = await takeBackup(repository, { blockCount: BLOCKS }, [
    { firstBlock: 0, blockCount: BLOCKS, bytes: first },
  ]);
  const second = content(OWN.blockCount, 2);
  child = await takeBackup(repository, { blockCount: BLOCKS, parent: base }, [
    { ...OWN, bytes: second },
  ]);
  disk = first.slice();
  disk.set(second, OWN.firstBlock * BLOCK_BYTES);
});

/** Restores the newest backup from what is in the store now. */
async function restoreNow(onDamage?: (damage: Damage) => void): Promise<Uint8Array> {
  const repository = await openRepository(store);
  return await restore(repository, await chainTo(repository, child), { onDamage });
}

async function failureOf(work: () => Promise<unknown>): Promise<IbackupError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof IbackupError) return error;
    throw error;
  }
  throw new Error("It did not fail");
}

const packsOf = () => [...store.objects.keys()].filter((key) => key.startsWith("packs/"));
const indexOf = (backup: StoredManifest) => `indexes/${backup.manifest.indexes[0]?.name}`;

/** The pack whose blocks a backup took: base and child have one each. */
async function packOf(backup: StoredManifest): Promise<string> {
  const repository = await openRepository(store);
  const index = backup.manifest.indexes[0];
  if (!index) throw new Error("It has no index object");
  const name = (await repository.indexes.read(backup.manifest, index)).packs[0]?.name ?? "";
  return `packs/${name.slice(0, 2)}/${name}`;
}

function spoil(key: string, change: (bytes: Uint8Array) => Uint8Array): void {
  store.objects.set(key, change(store.objects.get(key)!.slice()));
}

/** @returns Whether the disk was restored, and right; a refusal has to name damage. */
async function withSpoilt(key: string, change: (bytes: Uint8Array) => Uint8Array) {
  const intact = store.objects.get(key)!;
  spoil(key, change);
  try {
    expect(Buffer.compare(await restoreNow(), disk)).toBe(0);
    return true;
  } catch (error) {
    if (!(error instanceof IbackupError)) throw error;
    expect(["CORRUPT_DATA", "REPOSITORY_FORMAT"]).toContain(error.code);
    return false;
  } finally {
    store.objects.set(key, intact);
  }
}

/** Blocks named by the damage, and those of the disk that differ, must be the same. */
async function expectOnlyNamedBlocksLost(): Promise<BlockExtent[]> {
  const damage: Damage[] = [];
  const found = await restoreNow((one) => damage.push(one));
  const extents = damage.flatMap((one) => one.extents);
  const lost = new Set<number>();
  for (const { firstBlock, blockCount } of extents) {
    for (let block = firstBlock; block < firstBlock + blockCount; block++) lost.add(block);
  }
  for (let block = 0; block < BLOCKS; block++) {
    const [start, end] = [block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES];
    const wanted = lost.has(block)
      ? new Uint8Array(BLOCK_BYTES).fill(0xee)
      : disk.subarray(start, end);
    expect(Buffer.compare(found.subarray(start, end), wanted)).toBe(0);
  }
  expect(lost.size).toBeGreaterThan(0);
  return extents;
}

describe("readBlocks() of a damaged repository", () => {
  test("gives the disk while nothing is damaged", async () => {
    expect(Buffer.compare(await restoreNow(), disk)).toBe(0);
  });

  test("refuses or gives the right bytes, wherever one bit of any object is flipped", async () => {
    const random = seededRandom(7);
    const flips = [...store.objects].flatMap(([key, { length }]) =>
      Array.from({ length: 60 }, (_, sample) => ({
        key,
        at: sample < 20 ? sample % length : random(length),
        bit: random(8),
      })),
    );
    let refused = 0;
    for (const { key, at, bit } of flips) {
      const restored = await withSpoilt(key, (bytes) => {
        bytes[at] = bytes[at]! ^ (1 << bit);
        return bytes;
      });
      refused += restored ? 0 : 1;
    }
    expect(refused).toBeGreaterThan(200);
  });

  test("refuses or gives the right bytes, wherever any object is cut off", async () => {
    const random = seededRandom(8);
    const cuts = [...store.objects].flatMap(([key, { length }]) =>
      Array.from({ length: 20 }, (_, sample) => ({
        key,
        cut: sample < 5 ? sample : length - 1 - random(length - 1),
      })),
    );
    let refused = 0;
    for (const { key, cut } of cuts) {
      refused += (await withSpoilt(key, (bytes) => bytes.slice(0, cut))) ? 0 : 1;
    }
    expect(refused).toBeGreaterThan(cuts.length / 2);
  });

  test("names a missing pack and the blocks that it takes away", async () => {
    const pack = await packOf(child);
    store.objects.delete(pack);
    const error = await failureOf(restoreNow);
    expect(error).toMatchObject({ code: "CORRUPT_DATA", why: `"${pack}": it is missing` });
    expect(error.message).toBe("Cannot read blocks 100 to 149 of the backup");
    expect(await expectOnlyNamedBlocksLost()).toEqual([OWN]);
  });

  test("loses only the blocks of the frames that are damaged", async () => {
    const pack = await packOf(base);
    spoil(pack, (bytes) => {
      bytes[5000] = bytes[5000]! ^ 1;
      return bytes;
    });
    expect((await failureOf(restoreNow)).why).toMatch(/frame at byte 42 does not have the digest/);
    const lost = await expectOnlyNamedBlocksLost();
    expect(lost.reduce((sum, { blockCount }) => sum + blockCount, 0)).toBeLessThanOrEqual(64);
  });

  test("still gives the frames of a cut pack that are whole", async () => {
    spoil(await packOf(base), (bytes) => bytes.slice(0, bytes.length / 2));
    expect((await failureOf(restoreNow)).why).toMatch(/ends early, at byte \d+/);
    await expectOnlyNamedBlocksLost();
  });

  test("never shows older content where the index object of an incremental is lost", async () => {
    store.objects.delete(indexOf(child));
    expect((await failureOf(restoreNow)).why).toBe(`"${indexOf(child)}": it is missing`);
    expect(await expectOnlyNamedBlocksLost()).toEqual([OWN]);
  });

  test("gives what an incremental holds where the index object of its base is lost", async () => {
    store.objects.delete(indexOf(base));
    const lost = await expectOnlyNamedBlocksLost();
    expect(lost).toEqual([
      { firstBlock: 0, blockCount: 100 },
      { firstBlock: 150, blockCount: 250 },
    ]);
  });

  test("refuses a chain with a manifest missing, replaced, or stored under another name", async () => {
    const { key } = base;
    const intact = store.objects.get(key)!;
    store.objects.delete(key);
    expect((await failureOf(restoreNow)).why).toMatch(/parent .* is missing/);
    const repository = await newRepository();
    await takeBackup(repository, { blockCount: BLOCKS }, [{ firstBlock: 0, blockCount: BLOCKS }]);
    store.objects.set(key, (repository.store as MemoryStore).objects.get(key)!);
    expect((await failureOf(restoreNow)).why).toMatch(/is not the one that it continues/);
    store.objects.set(key, store.objects.get(child.key)!);
    expect((await failureOf(restoreNow)).why).toMatch(/it is the manifest of backup/);
    store.objects.set(key, intact);
    expect(Buffer.compare(await restoreNow(), disk)).toBe(0);
  });

  test("counts a lost index object in the plan, and packs are not looked at", async () => {
    for (const key of packsOf()) store.objects.delete(key);
    const repository = await openRepository(store);
    const chain = await chainTo(repository, child);
    const whole = await planReads(repository, chain);
    expect(whole).toMatchObject({ zeroBlocks: 10, dataBlocks: BLOCKS - 10, missingBlocks: 0 });
    store.objects.delete(indexOf(child));
    const again = await openRepository(store);
    const damage: Damage[] = [];
    const plan = await planReads(again, chain, { onDamage: (one) => damage.push(one) });
    expect(plan.missingBlocks).toBe(OWN.blockCount);
    expect(damage).toHaveLength(1);
  });

  test("is told of blocks that nobody holds, unless only the backup's own are wanted", async () => {
    const repository = await newRepository();
    const changes = [{ firstBlock: 3, blockCount: 2, bytes: content(2, 1) }];
    const holey = await takeBackup(repository, { blockCount: 10 }, changes);
    const error = await failureOf(() => restore(repository, [holey]));
    expect(error.message).toBe("Cannot read blocks 0 to 2 of the backup");
    expect(error.why).toMatch(/no backup of its chain holds these blocks/);
    await replay(repository, [holey]);
  });
});
