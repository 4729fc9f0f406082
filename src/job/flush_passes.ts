/** Which blocks a flush reads, and the passes in which it reads them. */
import { BlockSet } from "../core/block_set.ts";
import { type GapVerdict, taintsBetween } from "../core/gap_check.ts";
import type { Manifest } from "../core/manifest.ts";
import { compareWithParent } from "./compare_disk.ts";
import type { FlushTask } from "./flush_task.ts";
import type { SourceDisk } from "./source_disk.ts";

/** More passes than this have never been seen to help: each reads what the last one's writes left. */
const PASSES_MAX = 5;
/** So little is read in a moment, so another pass is worth it even when it does not shrink. */
const SMALL_BYTES = 16 << 20;

/** What the passes came to. */
export interface Reading {
  passes: number;
  consistency: Manifest["consistency"];
  capturedAt: Date;
}

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
  flush.context.progress.message(`comparing the whole disk: ${reason}`);
  const { different, how } = await compareWithParent(flush, parent.manifest);
  return { blocks: different, gapCheck: { verdict, reason: `${reason}; ${how}` } };
}

/** Reads, and reads again what was written meanwhile, until nothing was or it does not shrink. */
export async function readPasses(
  flush: FlushTask,
  first: BlockSet,
  taintsAtStart: Readonly<Record<string, number>>,
): Promise<Reading> {
  const { context, disk, ledger } = flush;
  const smallCount = SMALL_BYTES / disk.blockBytes;
  let todo = first;
  let todoCount = todo.count();
  for (let passes = 1; ; passes++) {
    await readPass(flush, todo, todoCount);
    if (ledger === undefined) {
      return { passes, consistency: "fuzzy", capturedAt: context.clock.now() };
    }
    const written = await ledger.collect();
    const writtenCount = written.count();
    const capturedAt = context.clock.now();
    // Of any pass: an unseen write may have changed a block that no later pass read again.
    const isSound =
      disk.trackingFacts?.seesEveryWrite === true &&
      taintsBetween(taintsAtStart, taintsOf(disk)).length === 0;
    if (writtenCount === 0 && isSound) return { passes, consistency: "quiet", capturedAt };
    const shrinks = writtenCount <= Math.max(todoCount / 2, smallCount);
    const goesOn = writtenCount > 0 && shrinks && passes < PASSES_MAX;
    if (!goesOn) return { passes, consistency: "fuzzy", capturedAt };
    todo = written;
    todoCount = writtenCount;
  }
}

async function readPass(
  { context, disk, reader, writer, digests }: FlushTask,
  todo: BlockSet,
  count: number,
): Promise<void> {
  context.progress.begin(`reading ${disk.device.path}`, count * disk.blockBytes);
  for await (const { bytes, ...extent } of reader.read(todo.extents(), context.signal)) {
    await writer.add(extent, bytes);
    digests?.add(extent, bytes);
    context.progress.advance(bytes.length);
  }
}

/** As of the last collect. */
export function taintsOf(disk: SourceDisk): Readonly<Record<string, number>> {
  return disk.trackingFacts?.taints ?? {};
}
