import { describe, expect, test } from "vitest";
import { mapInOrder } from "../../src/core/ordered.ts";

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

describe("mapInOrder()", () => {
  test("keeps the order of the items, and never more at a time than the limit", async () => {
    let running = 0;
    let most = 0;
    const work = async (item: number) => {
      running += 1;
      most = Math.max(most, running);
      for (let turn = 0; turn < (item * 7) % 5; turn++) await Promise.resolve();
      running -= 1;
      return item * 2;
    };
    const items = Array.from({ length: 50 }, (_, at) => at);
    expect(await collect(mapInOrder(items, 4, work))).toEqual(items.map((one) => one * 2));
    expect(most).toBeLessThanOrEqual(4);
  });

  test("throws the first failure in order, after all that had begun has ended", async () => {
    const ended: number[] = [];
    const work = async (item: number) => {
      for (let turn = 0; turn < 10 - item; turn++) await Promise.resolve();
      ended.push(item);
      if (item >= 2) throw new Error(`item ${item}`);
      return item;
    };
    await expect(collect(mapInOrder([0, 1, 2, 3, 4], 3, work))).rejects.toThrow("item 2");
    expect(ended.toSorted()).toEqual([0, 1, 2, 3, 4].slice(0, ended.length));
  });

  test("waits for what had begun when its consumer leaves early", async () => {
    let ended = 0;
    const work = async (item: number) => {
      await Promise.resolve();
      ended += 1;
      return item;
    };
    for await (const item of mapInOrder([0, 1, 2, 3, 4, 5], 3, work)) if (item === 0) break;
    expect(ended).toBe(3);
  });
});
