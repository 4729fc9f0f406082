/**
 * Takes a backup of a disk.
 *
 * The disk is locked, the file systems are written out, the dirty blocks are collected and read;
 * what was written meanwhile is collected and read again, until the rest is read while the file
 * systems are frozen (`frozen`), nothing was written (`quiet`), or it does not converge (`fuzzy`).
 * The manifest comes last: only with it the backup exists. Whatever was collected stays in the
 * pending set until then.
 */
import { makeBackupId } from "../core/backup_id.ts";
import { checkGap, type GapVerdict, type ParentFacts, taintsBetween } from "../core/gap_check.ts";
import { toHex } from "../core/hex.ts";
import type { Manifest, ManifestDetails, ManifestDraft } from "../core/manifest.ts";
import { openDiskReader } from "../disk/disk_reader.ts";
import { IbackupError } from "../errors.ts";
import { openBackupWriter } from "../repo/backup_writer.ts";
import { sealManifest, signManifest } from "../repo/manifest_seal.ts";
import { claimDisk } from "./claim.ts";
import type { JobContext } from "./context.ts";
import { type FlushDigests, openFlushDigests } from "./flush_digests.ts";
import { blocksToRead, taintsOf } from "./flush_passes.ts";
import type { FlushOptions, FlushTask } from "./flush_task.ts";
import { type Freezing, prepareFreezing } from "./freezing.ts";
import { HeldProgress } from "./held_progress.ts";
import { Hooks, NO_HOOKS } from "./hooks.ts";
import { keepLocked } from "./object_lock.ts";
import { openLedger } from "./pending_ledger.ts";
import { type Reading, readDisk } from "./reading.ts";
import { openSourceDisk } from "./source_disk.ts";
import { buildManifest } from "./succession.ts";
import { leaveTraces } from "./traces.ts";
import { openSigner } from "./writer_key.ts";

export interface FlushResult {
  backupId: string;
  vmId: string;
  disk: string;
  type: Manifest["type"];
  parentId: string | null;
  gapCheck: GapVerdict;
  consistency: Manifest["consistency"];
  /** RFC 3339: the instant that it represents. */
  capturedAt: string;
  blocksChanged: number;
  bytesRead: number;
  bytesStored: number;
  passes: number;
  /** The longest freeze; null when there was none. */
  freezeMs: number | null;
  fileSystems: ManifestDetails["fileSystems"];
  durationMs: number;
  taints: { reason: string; count: number }[];
  /** Of `post-thaw`. The backup is good all the same. */
  hookFailure: IbackupError | undefined;
}

/** The trigger of a backup that a user, or what he has set up, has asked for. */
const ASKED_FOR = "asked for";

const RANK = { fuzzy: 0, quiet: 1, frozen: 2 } as const;

/** @throws IbackupError; then nothing was committed, and no dirty block is forgotten. */
export async function flushDevice(given: JobContext, options: FlushOptions): Promise<FlushResult> {
  const progress = new HeldProgress(given.progress);
  const context = { ...given, progress };
  const { vmId, diskName, waitMs = 0 } = options;
  const endsAtMs = context.clock.monotonicMs() + waitMs;
  const disk = await openSourceDisk(context, options.device, waitMs);
  try {
    const repository = await context.openRepository();
    const successor = { vmId, diskName, device: disk.device };
    const { succession, lease, journal } = await claimDisk(context, successor, {
      repository,
      lockFile: disk.lockFile,
      waitMs: endsAtMs - context.clock.monotonicMs(),
    });
    try {
      const claimed = { context, progress, options, disk, repository, lease, journal };
      return await flushClaimed({ ...claimed, ...succession });
    } finally {
      await (journal.isEmpty ? lease.release() : lease.leave());
    }
  } finally {
    await disk.close();
  }
}

type Claimed = Omit<FlushTask, "ledger" | "reader" | "sealer" | "writer" | keyof FlushDigests>;

async function flushClaimed(claimed: Claimed): Promise<FlushResult> {
  const { context, options, disk, repository } = claimed;
  const ledger = openLedger(context, claimed);
  const reader = await openDiskReader(disk.device, disk.blockBytes);
  const sealer = await repository.sealer();
  const writer = openBackupWriter(repository, {
    blockBytes: disk.blockBytes,
    blockCount: disk.blockCount,
    sealer,
    journal: claimed.journal,
    signal: context.signal,
  });
  const digests = await openFlushDigests(context, { ...claimed, vmId: options.vmId });
  try {
    return await run({ ...claimed, ...digests, ledger, reader, sealer, writer });
  } catch (error) {
    await writer.abort();
    await digests.digests?.abort();
    throw error;
  } finally {
    context.progress.end();
    sealer.close();
    await reader.close();
  }
}

async function run(flush: FlushTask): Promise<FlushResult> {
  const { context, options, disk, ledger, writer } = flush;
  const startedAt = context.clock.now();
  const startedMs = context.clock.monotonicMs();
  const freezing = prepareFreezing(flush);

  await disk.sync();
  await ledger?.collect();
  const taintsAtStart = taintsOf(disk);
  const checked = checkGap({
    parent: parentFacts(flush),
    brokenChain: flush.brokenChain,
    sizeBytes: disk.device.sizeBytes,
    blockBytes: disk.blockBytes,
    tracking: disk.trackingFacts,
    brokenTracking: disk.brokenTracking,
    pending: ledger?.remembered,
    asked: { base: options.base, scan: options.scan },
  });
  const { blocks: first, gapCheck } = await blocksToRead(flush, checked);
  const hooks = hooksOf(flush, freezing);
  const reading = await readDisk(flush, { first, taintsAtStart, freezing, hooks });
  refuseLess(reading, options.consistency);

  const stored = await writer.finish();
  const draft = buildManifest({
    backupId: makeBackupId(startedAt, toHex(context.random(4))),
    vmId: options.vmId,
    diskName: flush.diskName,
    sequence: flush.sequence,
    disk,
    parent: gapCheck.verdict === "base" ? undefined : flush.parent,
    gapCheck,
    trigger: options.trigger ?? ASKED_FOR,
    reading,
    stored,
    bytesRead: flush.reader.bytesRead,
    taints: taintsBetween(ledger?.remembered?.taints ?? taintsAtStart, taintsOf(disk)),
    epoch: ledger?.epoch ?? 0,
    times: { startedAt, finishedAt: context.clock.now() },
    version: context.version,
  });
  const signer = openSigner(context);
  const manifest = signManifest(await sealManifest(draft, flush.sealer), signer);
  const sha256 = flush.repository.digestOf(manifest);
  ledger?.prepareCommit({ backupId: manifest.backupId, sha256 }, taintsAtStart);
  await flush.lease.confirm("store the backup");
  const committed = await flush.repository.commit(manifest);
  flush.journal.clear();
  ledger?.commit();
  await context.freezeGate.write(() => flush.digests?.commit(manifest.backupId));
  await leaveTraces(context, { ...flush, stored: committed, signer });
  await keepLocked(context, flush.repository, committed);
  const durationMs = context.clock.monotonicMs() - startedMs;
  return { ...resultOf(draft, gapCheck, durationMs), hookFailure: hooks.endFailure };
}

function hooksOf({ context, disk, options }: FlushTask, { targets }: Freezing): Hooks {
  const device = disk.device.path;
  const mountpoints = targets.map(({ mountpoint }) => mountpoint);
  return new Hooks(context, options.hooks ?? NO_HOOKS, { device, mountpoints });
}

function parentFacts({ parent, disk }: FlushTask): ParentFacts | undefined {
  if (parent === undefined) return undefined;
  const { backupId, blockBytes, disk: saved } = parent.manifest;
  const { kind, value } = disk.device.identity;
  const identityMatches = saved.identity.kind === kind && saved.identity.value === value;
  return { backupId, sizeBytes: saved.sizeBytes, blockBytes, identityMatches };
}

function refuseLess({ consistency, shortfall }: Reading, asked: Manifest["consistency"]): void {
  if (RANK[consistency] >= RANK[asked]) return;
  throw new IbackupError("CONSISTENCY", `Cannot take a ${asked} backup`, {
    why: `it is ${consistency}: ${shortfall}`,
    fix: "try at a quieter time, allow longer freezes by --freeze-budget, or accept less by --consistency; nothing was committed",
  });
}

function resultOf(
  manifest: ManifestDraft,
  gapCheck: GapVerdict,
  durationMs: number,
): Omit<FlushResult, "hookFailure"> {
  return {
    backupId: manifest.backupId,
    vmId: manifest.vmId,
    disk: manifest.disk.name,
    type: manifest.type,
    parentId: manifest.parentId,
    gapCheck,
    consistency: manifest.consistency,
    capturedAt: manifest.capturedAt,
    blocksChanged: manifest.blocksChanged,
    bytesRead: manifest.bytesRead,
    bytesStored: manifest.bytesStored,
    passes: manifest.passes,
    freezeMs: manifest.freezeMs,
    fileSystems: manifest.details.fileSystems,
    durationMs: Math.round(durationMs),
    taints: manifest.details.tracking?.taints ?? [],
  };
}
