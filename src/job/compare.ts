/** Tells where a backup and a disk or image differ. */
import { statSync } from "node:fs";
import { chainOf } from "../core/chain.ts";
import type { BlockExtent } from "../core/extent.ts";
import { describeDevice } from "../disk/block_device.ts";
import { openDiskReader } from "../disk/disk_reader.ts";
import { IbackupError } from "../errors.ts";
import { readBlocks } from "../repo/block_reader.ts";
import { type BackupRequest, findBackup } from "./catalogue.ts";
import { findDifferences } from "./compare_content.ts";
import type { JobContext } from "./context.ts";

export interface CompareOptions {
  backup: BackupRequest;
  /** A block device or an image file. */
  device: string;
}

export interface CompareResult {
  backupId: string;
  device: string;
  blockBytes: number;
  blocksCompared: number;
  differentBlocks: number;
  /** Ascending; no more than the first thousand. */
  extents: BlockExtent[];
  durationMs: number;
}

const EXTENTS_MAX = 1000;

/** The part of a larger device past the end of the backup is not looked at. */
export async function compareBackup(
  context: JobContext,
  { backup, device }: CompareOptions,
): Promise<CompareResult> {
  const startedMs = context.clock.monotonicMs();
  const repository = await context.openRepository();
  const { manifests, stored } = await findBackup(context, backup);
  const { manifest } = stored;
  const chain = chainOf(manifests, manifest.backupId);
  const { blockBytes, blockCount, disk } = manifest;
  refuseSmaller(device, sizeOf(device), disk.sizeBytes);

  const reader = await openDiskReader({ path: device, sizeBytes: disk.sizeBytes }, blockBytes);
  try {
    context.progress.begin(`comparing ${device}`, disk.sizeBytes);
    const different = await findDifferences(
      readBlocks(repository, chain, { signal: context.signal }),
      reader,
      (bytes) => context.progress.advance(bytes),
    );
    return {
      backupId: manifest.backupId,
      device,
      blockBytes,
      blocksCompared: blockCount,
      differentBlocks: different.count(),
      extents: [...different.extents()].slice(0, EXTENTS_MAX),
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  } finally {
    context.progress.end();
    await reader.close();
  }
}

function sizeOf(path: string): number {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats?.isFile() ? stats.size : describeDevice(path).sizeBytes;
}

function refuseSmaller(path: string, sizeBytes: number, neededBytes: number): void {
  if (sizeBytes >= neededBytes) return;
  throw new IbackupError("DIFFERENT", `Cannot compare "${path}"`, {
    why: `it has ${sizeBytes} bytes and the backup has ${neededBytes}`,
    fix: "name the disk that was backed up, or the one it was restored to",
  });
}
