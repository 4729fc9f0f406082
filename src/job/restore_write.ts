/** Writes the pieces of a backup to a target. */
import { Buffer } from "node:buffer";
import type { BlockExtent } from "../core/extent.ts";
import { forEachConcurrently } from "../core/pool.ts";
import { cutExtents } from "../core/read_plan.ts";
import type { RestoreTarget } from "../disk/restore_target.ts";
import type { Piece } from "../repo/block_reader.ts";
import type { Applied, RestoreTask } from "./restore_task.ts";

export interface PiecesToApply {
  pieces: AsyncIterable<Piece>;
  /** True when the target reads as zeroes where nothing was written. */
  skipZeroes: boolean;
}

const WRITES_IN_FLIGHT = 6;
/** The most that is zeroed, or read to be compared, in one go. */
const BYTES_PER_STEP = 4 << 20;

/** @returns What was written, which with `changedOnly` is only what differed. */
export async function applyPieces(
  { context, options, manifest }: RestoreTask,
  target: RestoreTarget,
  { pieces, skipZeroes }: PiecesToApply,
): Promise<Applied> {
  const { blockBytes, blockCount } = manifest;
  const blocksPerStep = Math.max(1, Math.floor(BYTES_PER_STEP / blockBytes));
  const zeroes = new Uint8Array(blocksPerStep * blockBytes);
  const applied = { bytesWritten: 0, bytesZeroed: 0 };

  const writeStep = async (extent: BlockExtent, piece: Piece): Promise<void> => {
    const offset = extent.firstBlock * blockBytes;
    const length = extent.blockCount * blockBytes;
    const at = (extent.firstBlock - piece.firstBlock) * blockBytes;
    const isZero = piece.kind === "zero";
    const bytes = isZero ? zeroes.subarray(0, length) : piece.bytes.subarray(at, at + length);
    if (options.changedOnly && (await isThere(target, offset, bytes))) return;
    if (isZero) {
      await target.zero(offset, length);
      applied.bytesZeroed += length;
    } else {
      await target.write(offset, bytes);
      applied.bytesWritten += length;
    }
  };

  await forEachConcurrently(pieces, WRITES_IN_FLIGHT, async (piece) => {
    // An older backup of a disk that has shrunk since may hold more than there is room for.
    const end = Math.min(piece.firstBlock + piece.blockCount, blockCount);
    const inside = { firstBlock: piece.firstBlock, blockCount: end - piece.firstBlock };
    if (inside.blockCount <= 0) return;
    if (piece.kind === "data" || !skipZeroes) {
      for (const extent of cutExtents([inside], blocksPerStep)) await writeStep(extent, piece);
    }
    context.progress.advance(inside.blockCount * blockBytes);
  });
  return applied;
}

async function isThere(
  target: RestoreTarget,
  offset: number,
  expected: Uint8Array,
): Promise<boolean> {
  const actual = new Uint8Array(expected.length);
  await target.read(offset, actual);
  return Buffer.compare(actual, expected) === 0;
}
