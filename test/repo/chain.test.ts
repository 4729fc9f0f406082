import { Buffer } from "node:buffer";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { planReads } from "../../src/repo/block_reader.ts";
import type { ByteRange } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  type Change,
  chainTo,
  content,
  newRepository,
  replay,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

/** A disk in memory, and what of it changed. */
class ModelDisk {
  readonly bytes: Uint8Array;

  constructor(blockCount: number) {
    this.bytes = new Uint8Array(blockCount * BLOCK_BYTES);
  }

  apply({ firstBlock, blockCount, bytes }: Change): void {
    const start = firstBlock * BLOCK_BYTES;
    if (bytes) this.bytes.set(bytes, start);
    else this.bytes.fill(0, start, start + blockCount * BLOCK_BYTES);
  }
}

class CountingStore extends MemoryStore {
  ranges: { key: string; range: ByteRange }[] = [];
  override async getRange(key: string, range: ByteRange) {
    this.ranges.push({ key, range });
    return await super.getRange(key, range);
  }
}

describe("a chain of a base and 30 incrementals", async () => {
  const blockCount = 2000;
  const store = new CountingStore();
  const repository = await newRepository(store);
  const random = seededRandom(42);
  const disk = new ModelDisk(blockCount);
  const images: Uint8Array[] = [];
  const backups: StoredManifest[] = [];
  const base: Change[] = [
    { firstBlock: 0, blockCount: 500, bytes: content(500, 1) },
    { firstBlock: 500, blockCount: 1000 },
    { firstBlock: 1500, blockCount: 500, bytes: content(500, 2) },
  ];
  for (let number = 0; number <= 30; number++) {
    const changes =
      number === 0
        ? base
        : Array.from({ length: 40 }, (_, at): Change => {
            const blocks = 1 + random(8);
            const firstBlock = random(blockCount - blocks);
            if (at % 5 === 0) return { firstBlock, blockCount: blocks };
            return { firstBlock, blockCount: blocks, bytes: content(blocks, number * 100 + at) };
          });
    for (const change of changes) disk.apply(change);
    images.push(disk.bytes.slice());
    backups.push(await takeBackup(repository, { blockCount, parent: backups.at(-1) }, changes));
  }

  test("restores each of the 31 right, and replay gives the same bytes", async () => {
    for (const [number, backup] of backups.entries()) {
      const chain = await chainTo(repository, backup);
      expect(Buffer.compare(await restore(repository, chain), images[number]!)).toBe(0);
      expect(Buffer.compare(await replay(repository, chain), images[number]!)).toBe(0);
    }
  });

  test("fetches every frame once for the last one, and only those that it needs", async () => {
    const chain = await chainTo(repository, backups.at(-1)!);
    const plan = await planReads(repository, chain);
    store.ranges = [];
    await restore(repository, chain);
    const bytesFetched = store.ranges.reduce((sum, { range }) => sum + range.length, 0);
    expect(store.ranges.length).toBe(plan.requests);
    expect(bytesFetched).toBe(plan.bytesFetched);
    expect(plan.dataBlocks + plan.zeroBlocks).toBe(blockCount);
    store.ranges.sort((left, right) =>
      left.key === right.key
        ? left.range.offset - right.range.offset
        : left.key.localeCompare(right.key),
    );
    for (const [index, { key, range }] of store.ranges.entries()) {
      const next = store.ranges[index + 1];
      if (next?.key !== key) continue;
      expect(next.range.offset).toBeGreaterThanOrEqual(range.offset + range.length);
    }
  });
});

describe("any chain of backups", () => {
  const blockCount = 300;
  const change = fc
    .tuple(
      fc.nat(blockCount - 1),
      fc.integer({ min: 1, max: 90 }),
      fc.constantFrom("data", "zero", "mixed"),
      fc.nat(1000),
    )
    .map(([firstBlock, length, kind, seed]): Change => {
      const blocks = Math.min(length, blockCount - firstBlock);
      if (kind === "zero") return { firstBlock, blockCount: blocks };
      const bytes = content(blocks, seed);
      if (kind === "mixed")
        for (let block = 0; block < blocks; block += 2)
          bytes.fill(0, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
      return { firstBlock, blockCount: blocks, bytes };
    });

  test("restores to what a naive replay of the same writes gives", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(change, { maxLength: 12 }), { minLength: 1, maxLength: 5 }),
        async (all) => {
          const repository = await newRepository();
          const disk = new ModelDisk(blockCount);
          let parent: StoredManifest | undefined;
          for (const changes of all) {
            const withBase: Change[] = parent
              ? changes
              : [{ firstBlock: 0, blockCount }, ...changes];
            for (const one of withBase) disk.apply(one);
            parent = await takeBackup(repository, { blockCount, parent }, withBase);
            const chain = await chainTo(repository, parent);
            expect(Buffer.compare(await restore(repository, chain), disk.bytes)).toBe(0);
          }
          const chain = await chainTo(repository, parent!);
          expect(Buffer.compare(await replay(repository, chain), disk.bytes)).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("a chain of a disk that shrank and grew again", () => {
  test("has the last size, and never shows what was there before it shrank", async () => {
    const repository = await newRepository();
    const [first, tail] = [content(300, 1), content(50, 2)];
    const base = await takeBackup(repository, { blockCount: 300 }, [
      { firstBlock: 0, blockCount: 300, bytes: first },
    ]);
    const shrunk = await takeBackup(repository, { blockCount: 100, parent: base }, []);
    const kept = first.subarray(0, 100 * BLOCK_BYTES);
    expect(Buffer.compare(await restore(repository, [base, shrunk]), kept)).toBe(0);

    const grown = await takeBackup(repository, { blockCount: 350, parent: shrunk }, [
      { firstBlock: 100, blockCount: 50, bytes: tail },
      { firstBlock: 150, blockCount: 199 },
    ]);
    const chain = await chainTo(repository, grown);
    await expect(restore(repository, chain)).rejects.toMatchObject({
      message: "Cannot read block 349 of the backup",
    });
    const extents = [{ firstBlock: 0, blockCount: 349 }];
    const found = await restore(repository, chain, { extents });
    const wanted = new Uint8Array(350 * BLOCK_BYTES).fill(0xee, 349 * BLOCK_BYTES);
    wanted.set(kept);
    wanted.set(tail, kept.length);
    expect(Buffer.compare(found, wanted)).toBe(0);
  });
});
