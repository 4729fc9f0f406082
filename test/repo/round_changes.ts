/** What a flush of the random rounds stores: all that its parent does not hold, and some changes. */
import type { BlockExtent } from "../../src/core/extent.ts";
import { type BackupWriter, openBackupWriter } from "../../src/repo/backup_writer.ts";
import type { Repository } from "../../src/repo/repository.ts";
import type { Sealer } from "../../src/repo/sealer.ts";
import { BLOCK_BYTES, content } from "../support/backups.ts";
import type { Random } from "../support/random.ts";

/**
 * @param given `before`: what the parent holds; undefined for a base, which begins with `first`.
 * @returns `disk`: as it is then.
 */
export async function storeChanges(
  repository: Repository,
  random: Random,
  given: { before: Uint8Array | undefined; first: Uint8Array; sealer: Sealer },
) {
  const { before, first, sealer } = given;
  const image = before ?? first;
  const blockCount = random.below(5) === 0 ? 40 + random.below(60) : blocksOf(image);
  const disk = new Uint8Array(blockCount * BLOCK_BYTES);
  disk.set(image.subarray(0, disk.length));
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount, sealer });
  const end = before ? Math.min(blocksOf(before), blockCount) : 0;
  if (end < blockCount) {
    await write(writer, disk, { firstBlock: end, blockCount: blockCount - end });
  }
  for (let change = random.below(5); change > 0; change--) {
    const firstBlock = random.below(blockCount - 8);
    const extent = { firstBlock, blockCount: 1 + random.below(8) };
    const bytes = content(extent.blockCount, random.below(9));
    if (random.below(4) === 0) bytes.fill(0);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    await write(writer, disk, extent);
  }
  return { disk, blockCount, written: await writer.finish() };
}

async function write(writer: BackupWriter, disk: Uint8Array, extent: BlockExtent): Promise<void> {
  const start = extent.firstBlock * BLOCK_BYTES;
  await writer.add(extent, disk.slice(start, start + extent.blockCount * BLOCK_BYTES));
}

function blocksOf(image: Uint8Array): number {
  return image.length / BLOCK_BYTES;
}
