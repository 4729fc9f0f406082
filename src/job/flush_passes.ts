/** Which blocks a flush reads to begin with. */
import { BlockSet } from "../core/block_set.ts";
import type { GapVerdict } from "../core/gap_check.ts";
import { compareObstacle, compareWithParent } from "./compare_disk.ts";
import type { FlushTask } from "./flush_task.ts";
import type { SourceDisk } from "./source_disk.ts";

/** The blocks of the first pass, and the verdict, which says how they were found. */
export async function blocksToRead(
  flush: FlushTask,
  gapCheck: GapVerdict,
): Promise<{ blocks: BlockSet; gapCheck: GapVerdict }> {
  const { verdict, reason } = gapCheck;
  const { disk, ledger, parent } = flush;
  if (verdict === "trusted" && ledger !== undefined) {
    return { blocks: ledger.pendingBlocks(), gapCheck };
  }
  if (verdict === "base" || parent === undefined) {
    return { blocks: BlockSet.full(disk.blockCount), gapCheck };
  }
  const obstacle = compareObstacle(flush, parent.manifest);
  if (obstacle !== undefined) {
    flush.context.progress.message(`taking a base: ${reason}; ${obstacle}`);
    const base = { verdict: "base", reason: `${reason}; ${obstacle}` } as const;
    return { blocks: BlockSet.full(disk.blockCount), gapCheck: base };
  }
  flush.context.progress.message(`comparing the whole disk: ${reason}`);
  const { different, how } = await compareWithParent(flush, parent.manifest);
  return { blocks: different, gapCheck: { verdict, reason: `${reason}; ${how}` } };
}

/** As of the last collect. */
export function taintsOf(disk: SourceDisk): Readonly<Record<string, number>> {
  return disk.trackingFacts?.taints ?? {};
}
