/** Compares a disk with the backup that a flush continues. */
import { BlockSet } from "../core/block_set.ts";
import { chainOf } from "../core/chain.ts";
import type { Manifest } from "../core/manifest.ts";
import { readBlocks } from "../repo/block_reader.ts";
import { findDifferences } from "./compare_content.ts";
import type { FlushTask } from "./flush_task.ts";

/** The blocks that are not as the parent has them, or of which the parent's copy is damaged. */
export async function compareWithParent(flush: FlushTask, parent: Manifest): Promise<BlockSet> {
  const { disk, context, repository } = flush;
  const missing = new BlockSet(disk.blockCount);
  const add = (firstBlock: number, blockCount: number): void => {
    const end = Math.min(firstBlock + blockCount, disk.blockCount);
    if (end > firstBlock) missing.add(firstBlock, end - firstBlock);
  };
  context.progress.begin(`comparing ${disk.device.path}`, disk.device.sizeBytes);
  const pieces = readBlocks(repository, chainOf(flush.backups, parent.backupId), {
    signal: context.signal,
    // Stored again, so that the chain is whole again from this backup on.
    onDamage: ({ extents }) => {
      for (const { firstBlock, blockCount } of extents) add(firstBlock, blockCount);
    },
  });
  const different = await findDifferences(pieces, flush.reader, (bytes) =>
    context.progress.advance(bytes),
  );
  add(parent.blockCount, disk.blockCount);
  if (!missing.isEmpty) different.addAll(missing);
  return different;
}
