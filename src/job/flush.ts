/**
 * Takes a backup of a disk.
 *
 * The disk is locked, the file systems are written out, the dirty blocks are collected and read;
 * what was written meanwhile is collected and read again, until nothing was (`quiet`) or the rest
 * does not shrink (`fuzzy`). The manifest comes last: only with it the backup exists. Whatever
 * was collected stays in the pending set until then.
 */
import { makeBackupId } from "../core/backup_id.ts";
import { BlockSet } from "../core/block_set.ts";
import { chainOf } from "../core/chain.ts";
import { checkGap, type GapVerdict, type ParentFacts, taintsBetween } from "../core/gap_check.ts";
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import { type DiskReader, openDiskReader } from "../disk/disk_reader.ts";
import { IbackupError } from "../errors.ts";
import { type BackupWriter, openBackupWriter } from "../repo/backup_writer.ts";
import { readBlocks } from "../repo/block_reader.ts";
import type { Repository } from "../repo/repository.ts";
import { findDifferences } from "./compare_content.ts";
import type { JobContext } from "./context.ts";
import { openLedger, type PendingLedger } from "./pending_ledger.ts";
import { openSourceDisk, type SourceDisk } from "./source_disk.ts";
import { buildManifest, findParent } from "./succession.ts";

export interface FlushOptions {
  device: string;
  vmId: string;
  /** Default: the name it has in the repository, else the kernel's name of the device. */
  diskName?: string;
  /** Take a base even where an incremental would do. */
  base: boolean;
  /** Read and compare the whole disk even where the dirty bitmap could be trusted. */
  scan: boolean;
  /** The least that is accepted. */
  consistency: Manifest["consistency"];
}

export interface FlushResult {
  backupId: string;
  vmId: string;
  disk: string;
  type: Manifest["type"];
  parentId: string | null;
  gapCheck: GapVerdict;
  consistency: Manifest["consistency"];
  blocksChanged: number;
  bytesRead: number;
  bytesStored: number;
  passes: number;
  freezeMs: number | null;
  durationMs: number;
  taints: { reason: string; count: number }[];
}

/** More passes than this have never been seen to help: each reads what the last one's writes left. */
const PASSES_MAX = 5;

const RANK = { fuzzy: 0, quiet: 1, frozen: 2 } as const;

/** Everything that the steps of one flush share. */
interface Flush {
  context: JobContext;
  options: FlushOptions;
  disk: SourceDisk;
  repository: Repository;
  /** All backups of the repository, oldest first. */
  backups: StoredManifest[];
  parent: StoredManifest | undefined;
  /** Undefined when the disk is not tracked. */
  ledger: PendingLedger | undefined;
  reader: DiskReader;
  writer: BackupWriter;
}

/** What the passes came to. */
interface Reading {
  passes: number;
  consistency: Manifest["consistency"];
  capturedAt: Date;
}

/** @throws IbackupError; then nothing was committed, and no dirty block is forgotten. */
export async function flushDevice(
  context: JobContext,
  options: FlushOptions,
): Promise<FlushResult> {
  refuseFrozen(options);
  const disk = await openSourceDisk(context, options.device);
  try {
    const repository = await context.openRepository();
    const backups = await repository.manifests();
    const { vmId, diskName } = options;
    const parent = findParent(backups, { vmId, diskName, device: disk.device });
    const ledger = openLedger(context, { disk, repository, parent });
    const reader = await openDiskReader(disk.device, disk.blockBytes);
    const writer = openBackupWriter(repository, {
      blockBytes: disk.blockBytes,
      blockCount: disk.blockCount,
      signal: context.signal,
    });
    const flush = { context, options, disk, repository, backups, parent, ledger, reader, writer };
    try {
      return await run(flush);
    } catch (error) {
      await writer.abort();
      throw error;
    } finally {
      context.progress.end();
      await reader.close();
    }
  } finally {
    await disk.close();
  }
}

async function run(flush: Flush): Promise<FlushResult> {
  const { context, options, disk, ledger, writer } = flush;
  const startedAt = context.clock.now();
  const startedMs = context.clock.monotonicMs();

  await disk.sync();
  await ledger?.collect();
  const taintsAtStart = disk.trackingFacts?.taints ?? {};
  const gapCheck = checkGap({
    parent: parentFacts(flush),
    sizeBytes: disk.device.sizeBytes,
    blockBytes: disk.blockBytes,
    tracking: disk.trackingFacts,
    pending: ledger?.remembered,
    asked: { base: options.base, scan: options.scan },
  });
  const todo = await blocksToRead(flush, gapCheck);
  const reading = await readPasses(flush, todo, taintsAtStart);
  refuseLess(reading.consistency, options.consistency);

  const stored = await writer.finish();
  const manifest = buildManifest({
    backupId: makeBackupId(startedAt, hexOf(context.random(4))),
    vmId: options.vmId,
    diskName: options.diskName ?? flush.parent?.manifest.disk.name ?? disk.device.name,
    disk,
    parent: gapCheck.verdict === "base" ? undefined : flush.parent,
    gapCheck,
    reading,
    stored,
    bytesRead: flush.reader.bytesRead,
    taints: taintsBetween(ledger?.remembered?.taints ?? taintsAtStart, currentTaints(disk)),
    epoch: ledger?.epoch ?? 0,
    times: { startedAt, finishedAt: context.clock.now() },
    version: context.version,
  });
  ledger?.prepareCommit(manifest.backupId, taintsAtStart);
  await flush.repository.commit(manifest);
  ledger?.commit();
  return resultOf(manifest, context.clock.monotonicMs() - startedMs);
}

function parentFacts({ parent, disk }: Flush): ParentFacts | undefined {
  if (parent === undefined) return undefined;
  const { backupId, blockBytes, disk: saved } = parent.manifest;
  const { kind, value } = disk.device.identity;
  const identityMatches = saved.identity.kind === kind && saved.identity.value === value;
  return { backupId, sizeBytes: saved.sizeBytes, blockBytes, identityMatches };
}

/** The blocks of the first pass. */
async function blocksToRead(flush: Flush, { verdict, reason }: GapVerdict): Promise<BlockSet> {
  const { disk, ledger, context, parent } = flush;
  if (verdict === "trusted" && ledger !== undefined) return ledger.pendingBlocks();
  if (verdict === "base" || parent === undefined) return BlockSet.full(disk.blockCount);

  context.progress.message(`comparing the whole disk: ${reason}`);
  context.progress.begin(`comparing ${disk.device.path}`, disk.device.sizeBytes);
  const chain = chainOf(flush.backups, parent.manifest.backupId);
  const different = await findDifferences(
    readBlocks(flush.repository, chain, { signal: context.signal }),
    flush.reader,
    (bytes) => context.progress.advance(bytes),
  );
  const { blockCount } = parent.manifest;
  if (disk.blockCount > blockCount) different.add(blockCount, disk.blockCount - blockCount);
  return different;
}

async function readPasses(
  flush: Flush,
  first: BlockSet,
  taintsAtStart: Readonly<Record<string, number>>,
): Promise<Reading> {
  const { context, disk, ledger } = flush;
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
      taintsBetween(taintsAtStart, currentTaints(disk)).length === 0;
    if (writtenCount === 0 && isSound) return { passes, consistency: "quiet", capturedAt };
    const shrinks = writtenCount <= todoCount / 2;
    if (!shrinks || passes === PASSES_MAX) return { passes, consistency: "fuzzy", capturedAt };
    todo = written;
    todoCount = writtenCount;
  }
}

async function readPass({ context, disk, reader, writer }: Flush, todo: BlockSet, count: number) {
  context.progress.begin(`reading ${disk.device.path}`, count * disk.blockBytes);
  for await (const run of reader.read(todo.extents(), context.signal)) {
    const { firstBlock, blockCount, bytes } = run;
    await writer.add({ firstBlock, blockCount }, bytes);
    context.progress.advance(bytes.length);
  }
}

function currentTaints(disk: SourceDisk): Readonly<Record<string, number>> {
  return disk.trackingFacts?.taints ?? {};
}

function refuseFrozen({ consistency, device }: FlushOptions): void {
  if (consistency !== "frozen") return;
  throw new IbackupError("CONSISTENCY", `Cannot take a frozen backup of "${device}"`, {
    why: "this version does not freeze file systems",
    fix: "ask for --consistency quiet, which needs a moment without writes, or fuzzy",
  });
}

function refuseLess(reached: Manifest["consistency"], asked: Manifest["consistency"]): void {
  if (RANK[reached] >= RANK[asked]) return;
  throw new IbackupError("CONSISTENCY", `Cannot take a ${asked} backup`, {
    why: `blocks were written or could not be watched during the last pass, so it is ${reached}`,
    fix: "try at a quieter time, or accept less with --consistency fuzzy; nothing was committed",
  });
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function resultOf(manifest: Manifest, durationMs: number): FlushResult {
  return {
    backupId: manifest.backupId,
    vmId: manifest.vmId,
    disk: manifest.disk.name,
    type: manifest.type,
    parentId: manifest.parentId,
    gapCheck: manifest.gapCheck,
    consistency: manifest.consistency,
    blocksChanged: manifest.blocksChanged,
    bytesRead: manifest.bytesRead,
    bytesStored: manifest.bytesStored,
    passes: manifest.passes,
    freezeMs: manifest.freezeMs,
    durationMs: Math.round(durationMs),
    taints: manifest.tracking?.taints ?? [],
  };
}
