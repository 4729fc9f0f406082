/** Writes a backup to a stream, from its first byte to its last. */
import type { Writable } from "node:stream";
import { cutExtents } from "../core/read_plan.ts";
import { IbackupError } from "../errors.ts";
import { readBlocks } from "../repo/block_reader.ts";
import type { Applied, RestoreTask } from "./restore_task.ts";

/** Pieces come in the order of the packs, so a region is put together in memory. */
const REGION_BYTES = 64 << 20;

/** @throws IbackupError USAGE where the order of a stream rules out what was asked for. */
export async function streamBackup(restore: RestoreTask, output: Writable): Promise<Applied> {
  const { context, options, repository, chain, manifest } = restore;
  if (options.changedOnly || options.verify || options.replay || options.partial) {
    throw new IbackupError("USAGE", "Cannot restore to standard output in that way", {
      why: "--changed-only, --verify, --replay and --partial need a target that can be read back",
      fix: "leave them out, or restore to a file",
    });
  }
  const { blockBytes, blockCount, disk } = manifest;
  const blocksPerRegion = Math.floor(REGION_BYTES / blockBytes);
  context.progress.begin("restoring to standard output", disk.sizeBytes);
  for (const region of cutExtents([{ firstBlock: 0, blockCount }], blocksPerRegion)) {
    // A new one each time: the stream may still hold the one before.
    const bytes = new Uint8Array(region.blockCount * blockBytes);
    const wanted = { extents: [region], signal: context.signal };
    for await (const piece of readBlocks(repository, chain, wanted)) {
      if (piece.kind === "data") {
        bytes.set(piece.bytes, (piece.firstBlock - region.firstBlock) * blockBytes);
      }
    }
    const end = Math.min(bytes.length, disk.sizeBytes - region.firstBlock * blockBytes);
    await write(output, bytes.subarray(0, end), context.signal);
    context.progress.advance(end);
  }
  return { bytesWritten: disk.sizeBytes, bytesZeroed: 0 };
}

/** Resolves when the bytes have been handed over; a reader that has stopped can be waited for. */
async function write(output: Writable, bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stop = (): void => reject(signal.reason);
  signal.addEventListener("abort", stop);
  try {
    output.write(bytes, (error) => (error ? reject(error) : resolve()));
    await promise;
  } finally {
    signal.removeEventListener("abort", stop);
  }
}
