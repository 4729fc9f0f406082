import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";

const BLOCK_COUNT = 200_000;

const extent = fc
  .record({ firstBlock: fc.nat(BLOCK_COUNT - 1), blockCount: fc.nat(90_000) })
  .map(({ firstBlock, blockCount }) => ({
    firstBlock,
    blockCount: Math.min(blockCount, BLOCK_COUNT - firstBlock),
  }));

function modelOf(extents: { firstBlock: number; blockCount: number }[]): Set<number> {
  const model = new Set<number>();
  for (const { firstBlock, blockCount } of extents) {
    for (let block = firstBlock; block < firstBlock + blockCount; block++) model.add(block);
  }
  return model;
}

function blocksOf(set: BlockSet): number[] {
  const blocks: number[] = [];
  for (const { firstBlock, blockCount } of set.extents()) {
    for (let i = 0; i < blockCount; i++) blocks.push(firstBlock + i);
  }
  return blocks;
}

/** Runs of ones in a byte for each block. */
function extentsOf(model: Uint8Array, from: number): { firstBlock: number; blockCount: number }[] {
  const extents = [];
  for (let block = from; block < model.length; ) {
    const end = model.indexOf(model[block] === 1 ? 0 : 1, block);
    const stop = end === -1 ? model.length : end;
    if (model[block] === 1) extents.push({ firstBlock: block, blockCount: stop - block });
    block = stop;
  }
  return extents;
}

// Methodology: a Set of block numbers is the slow, obviously right model.
describe("BlockSet", () => {
  test("holds exactly the blocks that were added", () => {
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 8 }), (extents) => {
        const set = new BlockSet(BLOCK_COUNT);
        for (const { firstBlock, blockCount } of extents) set.add(firstBlock, blockCount);
        const model = modelOf(extents);
        const sorted = [...model].sort((a, b) => a - b);
        expect(blocksOf(set)).toEqual(sorted);
        expect(set.count()).toBe(model.size);
        expect(set.isEmpty).toBe(model.size === 0);
      }),
      { numRuns: 40 },
    );
  });

  test("gives extents that are ascending and never touch", () => {
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 8 }), (extents) => {
        const set = new BlockSet(BLOCK_COUNT);
        for (const { firstBlock, blockCount } of extents) set.add(firstBlock, blockCount);
        let end = -1;
        for (const { firstBlock, blockCount } of set.extents()) {
          expect(firstBlock).toBeGreaterThan(end);
          end = firstBlock + blockCount;
        }
      }),
      { numRuns: 40 },
    );
  });

  test("reads a bitmap bit by bit, wherever it starts", () => {
    const words = fc.array(fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }), { maxLength: 40 });
    fc.assert(
      fc.property(fc.nat(3000), words, (firstWord, bitmap) => {
        const bytes = new Uint8Array(BigUint64Array.from(bitmap).buffer);
        const set = new BlockSet(BLOCK_COUNT);
        set.addBitmap(firstWord, bytes);
        const expected: number[] = [];
        bitmap.forEach((word, w) => {
          for (let i = 0; i < 64; i++) {
            if ((word >> BigInt(i)) & 1n) expected.push((firstWord + w) * 64 + i);
          }
        });
        expect(blocksOf(set)).toEqual(expected);
        for (const block of expected.slice(0, 50)) expect(set.has(block)).toBe(true);
      }),
    );
  });

  test("takes blocks out again, counts its extents, and gives those from a block on", () => {
    const change = fc.record({ extent, isRemoved: fc.boolean() });
    fc.assert(
      fc.property(fc.array(change, { maxLength: 8 }), fc.nat(BLOCK_COUNT), (changes, from) => {
        const set = new BlockSet(BLOCK_COUNT);
        const model = new Uint8Array(BLOCK_COUNT);
        for (const { extent: each, isRemoved } of changes) {
          const { firstBlock, blockCount } = each;
          if (isRemoved) set.remove(firstBlock, blockCount);
          else set.add(firstBlock, blockCount);
          model.fill(isRemoved ? 0 : 1, firstBlock, firstBlock + blockCount);
        }
        expect(set.runCount()).toBe([...set.extents()].length);
        expect(extentsOf(model, 0)).toEqual([...set.extents()]);
        expect(extentsOf(model, from)).toEqual([...set.extents(from)]);
      }),
      { numRuns: 60 },
    );
  });

  test("lets what came be removed while its extents are gone through", () => {
    const set = BlockSet.full(BLOCK_COUNT);
    set.remove(5, 1);
    set.remove(70_000, 10);
    const seen: number[] = [];
    for (const { firstBlock, blockCount } of set.extents()) {
      seen.push(firstBlock, blockCount);
      set.remove(firstBlock, blockCount);
    }
    expect(seen).toEqual([0, 5, 6, 69_994, 70_010, BLOCK_COUNT - 70_010]);
    expect(set.isEmpty).toBe(true);
  });

  test("adds another set", () => {
    fc.assert(
      fc.property(extent, extent, (a, b) => {
        const left = new BlockSet(BLOCK_COUNT);
        const right = new BlockSet(BLOCK_COUNT);
        left.add(a.firstBlock, a.blockCount);
        right.add(b.firstBlock, b.blockCount);
        left.addAll(right);
        expect(left.count()).toBe(modelOf([a, b]).size);
      }),
      { numRuns: 30 },
    );
  });

  test("costs next to nothing for a full 8 TiB disk", () => {
    const set = BlockSet.full(2 ** 31);
    expect([...set.extents()]).toEqual([{ firstBlock: 0, blockCount: 2 ** 31 }]);
  });

  test("refuses a bit past the end of the disk", () => {
    const set = new BlockSet(65);
    expect(() => set.addBitmap(1, Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0))).toThrow(
      /Broken invariant/,
    );
    set.addBitmap(1, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0));
    expect(set.has(64)).toBe(true);
  });
});
