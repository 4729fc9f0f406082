import { Buffer } from "node:buffer";
import { expect, test } from "vitest";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  restore,
  takeBackup,
} from "../support/backups.ts";

const BLOCK_COUNT = 1000;

/** A disk whose frames of 64 blocks begin and end anywhere, as zero blocks leave them. */
async function scatteredBackup() {
  const repository = await newRepository();
  const backup = await takeBackup(repository, { blockCount: BLOCK_COUNT }, [
    { firstBlock: 0, blockCount: 10, bytes: content(10, 1) },
    { firstBlock: 10, blockCount: 7 },
    { firstBlock: 17, blockCount: BLOCK_COUNT - 17, bytes: content(BLOCK_COUNT - 17, 2) },
  ]);
  return { repository, chain: await chainTo(repository, backup) };
}

test.each([50, 64, 333, 999])("regions of %i blocks add up to the disk", async (size) => {
  const { repository, chain } = await scatteredBackup();
  const whole = await restore(repository, chain);
  for (let from = 0; from < BLOCK_COUNT; from += size) {
    const extents = [{ firstBlock: from, blockCount: Math.min(size, BLOCK_COUNT - from) }];
    const expected = new Uint8Array(whole.length).fill(0xee);
    const [start, end] = [from * BLOCK_BYTES, (from + size) * BLOCK_BYTES];
    expected.set(whole.subarray(start, end), start);
    expect(Buffer.compare(await restore(repository, chain, { extents }), expected)).toBe(0);
  }
});
