import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  cellsByLevel,
  columnsFor,
  cooled,
  type DiskMap,
  LEVEL_MAX,
  levelOf,
  squaresPath,
  withBlocks,
} from "../../src/page/disk_map.ts";

function emptyMap(blockCount: number, blocksPerCell: number): DiskMap {
  const cells = new Array<number>(Math.ceil(blockCount / blocksPerCell)).fill(0);
  return { blockCount, blocksPerCell, cells, unplacedBlocks: 0, hits: new Map() };
}

describe("the map of a disk", () => {
  test("has each block in its cell, and none beyond the disk", () => {
    const extent = fc.record({
      firstBlock: fc.nat(300),
      blockCount: fc.integer({ min: 1, max: 99 }),
    });
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 250 }),
        fc.integer({ min: 1, max: 40 }),
        extent,
        (count, per, one) => {
          const map = withBlocks(emptyMap(count, per), [one], 1);
          const expected = emptyMap(count, per).cells.map((_, cell) => {
            const end = Math.min(one.firstBlock + one.blockCount, count);
            const blocks = Array.from({ length: per }, (_, i) => cell * per + i);
            return blocks.filter((block) => block >= one.firstBlock && block < end).length;
          });
          expect(map.cells).toEqual(expected);
          expect([...map.hits.keys()]).toEqual(
            expected.flatMap((n, cell) => (n > 0 ? [cell] : [])),
          );
        },
      ),
    );
  });

  test("counts no cell beyond full, and leaves the map before as it was", () => {
    const before = emptyMap(100, 10);
    const twice = [0, 0].map(() => ({ firstBlock: 0, blockCount: 10 }));
    expect(withBlocks(before, twice, 1).cells[0]).toBe(10);
    expect(before.cells[0]).toBe(0);
  });

  test("shows one changed block of many, and all of them as the last level", () => {
    expect([0, 1, 500_000, 1_000_000].map((n) => levelOf(n, 1_000_000))).toEqual([0, 1, 4, 5]);
    expect(levelOf(1, 1)).toBe(LEVEL_MAX);
    const levels = [0, 1, 5, 20, 50, 100].map((changed) => levelOf(changed, 100));
    expect(levels).toEqual([0, 1, 2, 3, 4, 5]);
    const cells = [0, 100, 1, 0];
    const map = { ...emptyMap(400, 100), cells };
    expect(cellsByLevel(map)).toEqual([[0, 3], [2], [], [], [], [1]]);
  });

  test("is fresh for a moment, and the same object while nothing cools", () => {
    const map = withBlocks(emptyMap(100, 10), [{ firstBlock: 0, blockCount: 1 }], 1_000);
    expect(cooled(map, 1_500)).toBe(map);
    expect(cooled(map, 9_000).hits.size).toBe(0);
  });

  test("is drawn as squares in rows", () => {
    expect(columnsFor(1024, 4)).toBe(64);
    expect(columnsFor(1024, 16)).toBe(128);
    expect(columnsFor(1, 4)).toBeGreaterThan(0);
    expect(squaresPath([0, 65], 64)).toBe("M0 0h.86v.86h-.86zM1 1h.86v.86h-.86z");
    expect(squaresPath([], 64)).toBe("");
  });
});
