import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";
import { planDiskReads } from "../../src/core/read_plan.ts";

const extents = fc
  .array(fc.record({ firstBlock: fc.nat(4000), blockCount: fc.integer({ min: 1, max: 600 }) }))
  .map((list) => {
    const set = new BlockSet(5000);
    for (const { firstBlock, blockCount } of list) set.add(firstBlock, blockCount);
    return [...set.extents()];
  });
const options = fc.record({
  blocksPerRead: fc.integer({ min: 1, max: 300 }),
  gapBlocks: fc.nat(20),
});

const blocksOf = (list: { firstBlock: number; blockCount: number }[]): number[] =>
  list.flatMap(({ firstBlock, blockCount }) =>
    Array.from({ length: blockCount }, (_, i) => firstBlock + i),
  );

describe("planDiskReads()", () => {
  test("wants each block of the extents exactly once, in ascending order", () => {
    fc.assert(
      fc.property(extents, options, (list, how) => {
        const wanted = [...planDiskReads(list, how)].flatMap((read) => blocksOf(read.wanted));
        expect(wanted).toEqual(blocksOf(list));
      }),
    );
  });

  test("keeps reads within their length and never reads a wider gap than allowed", () => {
    fc.assert(
      fc.property(extents, options, (list, how) => {
        for (const read of planDiskReads(list, how)) {
          expect(read.blockCount).toBeLessThanOrEqual(how.blocksPerRead);
          expect(read.wanted[0]?.firstBlock).toBe(read.firstBlock);
          let end = read.firstBlock;
          for (const extent of read.wanted) {
            expect(extent.firstBlock - end).toBeLessThanOrEqual(how.gapBlocks);
            end = extent.firstBlock + extent.blockCount;
          }
          expect(end).toBe(read.firstBlock + read.blockCount);
        }
      }),
    );
  });

  test("reads a dense region as one range", () => {
    const everyOther = Array.from({ length: 10 }, (_, i) => ({ firstBlock: 2 * i, blockCount: 1 }));
    const reads = [...planDiskReads(everyOther, { blocksPerRead: 256, gapBlocks: 16 })];
    expect(reads.map(({ firstBlock, blockCount }) => ({ firstBlock, blockCount }))).toEqual([
      { firstBlock: 0, blockCount: 19 },
    ]);
  });
});
