import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { PendingZeroes } from "../../src/core/pending_zeroes.ts";

describe("PendingZeroes", () => {
  test("holds what a set of block numbers would, as merged ascending extents", () => {
    const extent = fc.record({
      firstBlock: fc.nat(200),
      blockCount: fc.integer({ min: 1, max: 30 }),
    });
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 30 }), extent, (added, probe) => {
        const zeroes = new PendingZeroes();
        const model = new Set<number>();
        for (const one of added) {
          zeroes.add(one);
          for (let at = 0; at < one.blockCount; at++) model.add(one.firstBlock + at);
        }
        const blocks = Array.from({ length: probe.blockCount }, (_, at) => probe.firstBlock + at);
        expect(zeroes.intersects(probe)).toBe(blocks.some((block) => model.has(block)));
        let end = -1;
        let total = 0;
        for (const { firstBlock, blockCount } of zeroes.take()) {
          expect(firstBlock).toBeGreaterThan(end);
          for (let at = 0; at < blockCount; at++) expect(model.has(firstBlock + at)).toBe(true);
          end = firstBlock + blockCount;
          total += blockCount;
        }
        expect(total).toBe(model.size);
        expect(zeroes.extentCount).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});
