/** Whether a backup of a disk is due, by what its repository and its tracking say. */
import { crc32c } from "../core/crc32c.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { IbackupError } from "../errors.ts";
import { readNote, sessionNameOf } from "../tracker/attachments.ts";
import { PendingSet } from "../tracker/pending.ts";
import {
  blockShiftFor,
  readTrackingStatus,
  type Slot,
  slotFor,
  type TrackingStatus,
} from "../tracker/tracker.ts";
import { type Decision, decide } from "../trigger/decide.ts";
import type { TriggerPolicy } from "../trigger/policy.ts";
import type { JobContext } from "./context.ts";
import { findSuccession } from "./succession.ts";
import { withHelper } from "./track.ts";

export type DiskDecision = Decision;

/** What a repository says of a disk. */
export interface DiskFacts {
  repositoryId: string;
  diskName: string;
  /** Undefined when there is no backup that the next one could continue. */
  newest: { backupId: string; capturedAt: string; consistency: string } | undefined;
}

interface NamedDisk {
  device: string;
  vmId: string;
  diskName?: string;
}

/**
 * Locks nothing and changes nothing.
 *
 * @throws IbackupError DEVICE, TRACKER, and what the store throws.
 */
export async function decideForDisk(
  context: JobContext,
  policy: TriggerPolicy,
  disk: NamedDisk,
): Promise<DiskDecision> {
  const facts = await readDiskFacts(context, disk);
  const device = describeDevice(disk.device);
  const status = await statusOrNone(context);
  const changedBlocks = countChanged(context, status, { device, ...facts });
  if (changedBlocks === undefined) {
    context.progress.message(
      `warning: ${device.path} is not tracked, and its changed blocks are not counted; \`ibackup track start ${device.path}\` does`,
    );
  }
  const state = { ...facts, vmId: disk.vmId, changedBlocks, sectorCount: device.sectorCount };
  return decideBy(policy, state, context.clock.now().getTime());
}

/** @throws IbackupError DEVICE, and what the store throws. */
export async function readDiskFacts(
  context: JobContext,
  { device: path, vmId, diskName }: NamedDisk,
): Promise<DiskFacts> {
  const device = describeDevice(path);
  const repository = await context.openRepository();
  const successor = { vmId, diskName, device };
  const { parent, diskName: name } = await findSuccession(context, successor, { repository });
  return { repositoryId: repository.id, diskName: name, newest: parent?.manifest };
}

/** @param state `changedBlocks`: undefined counts as none. */
export function decideBy(
  policy: TriggerPolicy,
  state: {
    vmId: string;
    diskName: string;
    newest: { capturedAt: string } | undefined;
    changedBlocks: number | undefined;
    sectorCount: number;
  },
  nowMs: number,
): DiskDecision {
  const { vmId, diskName, newest, changedBlocks = 0, sectorCount } = state;
  const known = {
    lastBackupMs: newest === undefined ? null : Date.parse(newest.capturedAt),
    changedBlocks,
    blockBytes: 512 * 2 ** blockShiftFor(sectorCount),
    isAsked: false,
    seed: crc32c(new TextEncoder().encode(`${vmId}\0${diskName}`)),
  };
  return decide(policy, known, nowMs);
}

/**
 * Blocks that are marked in the kernel, and those that another repository's flush, or one that
 * failed, has collected since. One that is both counts twice.
 *
 * @returns Undefined when the disk is not tracked.
 */
export function countChanged(
  context: Pick<JobContext, "runtimeDir">,
  status: TrackingStatus,
  { device, repositoryId }: { device: BlockDevice; repositoryId: string },
): number | undefined {
  const slot = trustedSlot(context, status, device);
  if (slot === undefined || status.session === undefined) return undefined;
  const place = { runtimeFolder: context.runtimeDir(), range: device, repositoryId };
  const pending = new PendingSet(place, slot.blockCount);
  const isOfSession = pending.state?.session === sessionNameOf(status.session, slot);
  return slot.dirtyBlocks + (isOfSession ? pending.look().count() : 0);
}

/** The slot of a device whose pending sets are in our runtime folder. */
export function trustedSlot(
  context: Pick<JobContext, "runtimeDir">,
  status: TrackingStatus,
  device: BlockDevice,
): Slot | undefined {
  const slot = slotFor(status, device);
  return slot && readNote(context.runtimeDir(), slot) && slot;
}

/** What tracking tells; nothing where it is broken. */
export async function statusOrNone(context: JobContext): Promise<TrackingStatus> {
  try {
    return await withHelper(context, readTrackingStatus);
  } catch (error) {
    // Broken tracking stops no flush, and no decision.
    if (!(error instanceof IbackupError && error.code === "TRACKER")) throw error;
    return { session: undefined, slots: [] };
  }
}
