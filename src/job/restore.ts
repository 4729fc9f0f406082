/** Writes a backup back to a device, into an image file, or to standard output. */
import type { Writable } from "node:stream";
import type { BlockSet } from "../core/block_set.ts";
import type { RestoreTarget } from "../disk/restore_target.ts";
import { IbackupError } from "../errors.ts";
import { type Damage, readBlocks } from "../repo/block_reader.ts";
import { findDifferences } from "./compare_content.ts";
import type { JobContext } from "./context.ts";
import { noteInto, prepareRestore } from "./restore_prepare.ts";
import { streamBackup } from "./restore_stream.ts";
import { openRestoreTarget, refuseTarget } from "./restore_target.ts";
import type { Applied, RestoreOptions, RestoreTask } from "./restore_task.ts";
import { applyPieces } from "./restore_write.ts";

export interface RestoreResult {
  backupId: string;
  target: string;
  dryRun: boolean;
  sizeBytes: number;
  /** Backups that the restored state is made of, base first. */
  chain: string[];
  /** Ranged reads of packs that it takes, and their bytes. */
  requests: number;
  bytesFetched: number;
  bytesWritten: number;
  bytesZeroed: number;
  /** That all of it was read back the same. Null when it was not asked for. */
  verified: boolean | null;
  damaged: Damage[];
  durationMs: number;
}

/**
 * @throws IbackupError; a device may then be half written, which the error says, and a new file is
 *   removed. Damaged data are never written: CORRUPT_DATA, or with `partial` left out and named.
 */
export async function restoreBackup(
  context: JobContext,
  options: RestoreOptions,
): Promise<RestoreResult> {
  const startedMs = context.clock.monotonicMs();
  const restore = await prepareRestore(context, options);
  const { manifest, chain, plan, damaged } = restore;
  try {
    const done = await (options.dryRun ? refuse(restore) : run(restore));
    return {
      backupId: manifest.backupId,
      target: options.target,
      dryRun: options.dryRun,
      sizeBytes: manifest.disk.sizeBytes,
      chain: chain.map((stored) => stored.manifest.backupId),
      requests: plan.requests,
      bytesFetched: plan.bytesFetched,
      ...done,
      damaged: damaged.list(),
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  } finally {
    context.progress.end();
  }
}

type Done = Applied & { verified: boolean | null };
const NOTHING_DONE: Done = { bytesWritten: 0, bytesZeroed: 0, verified: null };

/** A plan that could not be carried out is none. */
async function refuse(restore: RestoreTask): Promise<Done> {
  if (restore.options.target !== "-") await refuseTarget(restore);
  return NOTHING_DONE;
}

async function run(restore: RestoreTask): Promise<Done> {
  const { context, options, manifest } = restore;
  if (options.target === "-") {
    const applied = await streamBackup(restore, await standardOutput());
    return { ...applied, verified: null };
  }
  const target = await openRestoreTarget(restore);
  try {
    context.progress.begin(`restoring to ${target.path}`, manifest.disk.sizeBytes);
    const applied = await apply(restore, target);
    const isSame = options.verify ? await verify(restore, target) : null;
    // The rest of it is what was damaged.
    const verified = isSame && restore.damaged.list().length === 0;
    await target.finish();
    return { ...applied, verified };
  } finally {
    await target.abandon();
  }
}

async function apply(restore: RestoreTask, target: RestoreTarget): Promise<Applied> {
  const { context, options, repository, chain, damaged } = restore;
  const read = { signal: context.signal, onDamage: noteInto(damaged, options) };
  if (!options.replay) {
    return await applyPieces(restore, target, {
      pieces: readBlocks(repository, chain, read),
      skipZeroes: target.startsZeroed,
    });
  }
  const total = { bytesWritten: 0, bytesZeroed: 0 };
  for (const index of chain.keys()) {
    const pieces = readBlocks(repository, chain.slice(0, index + 1), { ...read, onlyOwn: true });
    const skipZeroes = target.startsZeroed && index === 0;
    const applied = await applyPieces(restore, target, { pieces, skipZeroes });
    total.bytesWritten += applied.bytesWritten;
    total.bytesZeroed += applied.bytesZeroed;
  }
  return total;
}

/** @throws IbackupError DIFFERENT when what was written does not read back the same. */
async function verify(restore: RestoreTask, target: RestoreTarget): Promise<boolean> {
  const { context, options, repository, chain, manifest } = restore;
  const { blockBytes, blockCount } = manifest;
  context.progress.begin(`verifying ${target.path}`, manifest.disk.sizeBytes);
  const onDamage = options.partial ? () => undefined : undefined;
  const different = await findDifferences(
    readBlocks(repository, chain, { signal: context.signal, onDamage }),
    {
      blockBytes,
      blockCount,
      readInto: ({ firstBlock }, bytes) => target.read(firstBlock * blockBytes, bytes),
    },
    (bytes) => context.progress.advance(bytes),
  );
  if (different.isEmpty) return true;
  throw new IbackupError("DIFFERENT", `Cannot verify "${target.path}"`, {
    why: `${different.count()} blocks read back otherwise than written, the first at byte ${firstByte(different, blockBytes)}`,
    fix: "the target is not reliable: check it with `dmesg`, and restore to another one",
  });
}

function firstByte(blocks: BlockSet, blockBytes: number): number {
  for (const { firstBlock } of blocks.extents()) return firstBlock * blockBytes;
  return 0;
}

async function standardOutput(): Promise<Writable> {
  const { stdout } = await import("node:process");
  return stdout;
}
