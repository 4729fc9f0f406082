import { expect, test } from "vitest";
import { readBlocks } from "../../src/repo/block_reader.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  restore,
  takeBackup,
} from "../support/backups.ts";

const BLOCK_COUNT = 1000;

/** A disk whose frames of 64 blocks begin and end anywhere. */
async function scatteredBackup() {
  const repository = await newRepository();
  const backup = await takeBackup(repository, { blockCount: BLOCK_COUNT }, [
    { firstBlock: 0, blockCount: 10, bytes: content(10, 1) },
    { firstBlock: 10, blockCount: 7 },
    { firstBlock: 17, blockCount: BLOCK_COUNT - 17, bytes: content(BLOCK_COUNT - 17, 2) },
  ]);
  return { repository, chain: await chainTo(repository, backup) };
}

test.each([1, 50, 64, 333, 999])("regions of %i blocks add up to the disk", async (size) => {
  const { repository, chain } = await scatteredBackup();
  const whole = await restore(repository, chain);
  const seen = new Uint8Array(BLOCK_COUNT);
  for (let from = 0; from < BLOCK_COUNT; from += size) {
    const region = { firstBlock: from, blockCount: Math.min(size, BLOCK_COUNT - from) };
    for await (const piece of readBlocks(repository, chain, { extents: [region] })) {
      const start = piece.firstBlock * BLOCK_BYTES;
      const end = start + piece.blockCount * BLOCK_BYTES;
      const bytes = piece.kind === "data" ? piece.bytes : new Uint8Array(end - start);
      expect(bytes).toEqual(whole.subarray(start, end));
      for (let i = 0; i < piece.blockCount; i++) seen[piece.firstBlock + i]++;
    }
  }
  expect(seen.every((times) => times === 1)).toBe(true);
});
