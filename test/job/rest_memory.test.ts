import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import type { BlockRun } from "../../src/disk/disk_reader.ts";
import { RestMemory } from "../../src/job/rest_memory.ts";

const BLOCK_BYTES = 4096;
const CAPACITY_BYTES = 4 << 20;

function runOf(firstBlock: number, blockCount: number): BlockRun {
  const bytes = new Uint8Array(blockCount * BLOCK_BYTES);
  for (let i = 0; i < blockCount; i++)
    bytes.fill((firstBlock + i) % 251, i * BLOCK_BYTES, (i + 1) * BLOCK_BYTES);
  return { firstBlock, blockCount, bytes };
}

/** A memory, and the blocks that have left it; each must have kept its content. */
function openMemory(gate: () => Promise<void> = async () => undefined) {
  const left: number[] = [];
  const memory = new RestMemory({
    capacityBytes: CAPACITY_BYTES,
    blockBytes: BLOCK_BYTES,
    store: async ({ firstBlock, blockCount, bytes }) => {
      await gate();
      expect(Buffer.compare(bytes, runOf(firstBlock, blockCount).bytes)).toBe(0);
      for (let i = 0; i < blockCount; i++) left.push(firstBlock + i);
    },
  });
  return { memory, left };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, block) => block);

describe("RestMemory", () => {
  test("keeps as much as it may, and lets it leave in the order in which it came", async () => {
    const { memory, left } = openMemory();
    expect(memory.freeBytes).toBe(CAPACITY_BYTES);
    let kept = 0;
    for (let block = 0; ; block += 100) {
      const count = memory.keep(runOf(block, 100));
      kept += count;
      if (count < 100) break;
    }
    expect(kept).toBe(CAPACITY_BYTES / BLOCK_BYTES);
    expect(memory.freeBytes).toBe(0);
    expect(left).toEqual([]);
    await memory.emptied();
    expect(left).toEqual(upTo(kept));
    expect(memory.freeBytes).toBe(CAPACITY_BYTES);
  });

  test("copies: what was lent may change at once", async () => {
    const { memory, left } = openMemory();
    const run = runOf(7, 3);
    expect(memory.keep(run)).toBe(3);
    run.bytes.fill(0xff);
    await memory.emptied();
    expect(left).toEqual([7, 8, 9]);
  });

  test("takes more while others leave", async () => {
    const { memory, left } = openMemory();
    memory.release();
    let block = 0;
    while (block < 5000) {
      block += memory.keep(runOf(block, 64));
      if (memory.freeBytes < 64 * BLOCK_BYTES) await memory.roomFor(CAPACITY_BYTES / 2);
    }
    await memory.emptied();
    expect(left).toEqual(upTo(block));
  });

  test("lets nothing leave while it is held", async () => {
    const gate = Promise.withResolvers<void>();
    const { memory, left } = openMemory(() => gate.promise);
    memory.keep(runOf(0, 256));
    memory.keep(runOf(256, 256));
    memory.release();
    memory.hold();
    gate.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(left).toEqual(upTo(256));
    memory.keep(runOf(512, 1));
    await new Promise((resolve) => setImmediate(resolve));
    expect(left).toEqual(upTo(256));
    await memory.emptied();
    expect(left).toEqual(upTo(513));
  });

  test("tells what storing threw, and stores no more", async () => {
    let calls = 0;
    const { memory } = openMemory(async () => {
      calls += 1;
      throw new Error("the store is full");
    });
    memory.keep(runOf(0, 300));
    memory.keep(runOf(300, 300));
    await expect(memory.emptied()).rejects.toThrow("the store is full");
    await expect(memory.roomFor(CAPACITY_BYTES)).rejects.toThrow("the store is full");
    expect(calls).toBe(1);
  });
});
