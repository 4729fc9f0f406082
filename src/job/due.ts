/** Whether a backup of a disk is due, by what its repository and its tracking say. */
import { crc32c } from "../core/crc32c.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { IbackupError } from "../errors.ts";
import { readNote, sessionNameOf } from "../tracker/attachments.ts";
import { PendingSet } from "../tracker/pending.ts";
import { blockShiftFor, readTrackingStatus, slotFor } from "../tracker/tracker.ts";
import { type Decision, decide } from "../trigger/decide.ts";
import type { TriggerPolicy } from "../trigger/policy.ts";
import type { JobContext } from "./context.ts";
import { findSuccession } from "./succession.ts";
import { withHelper } from "./track.ts";

export type DiskDecision = Decision;

/**
 * Locks nothing and changes nothing.
 *
 * @throws IbackupError DEVICE, TRACKER, and what the store throws.
 */
export async function decideForDisk(
  context: JobContext,
  policy: TriggerPolicy,
  { device: path, vmId, diskName }: { device: string; vmId: string; diskName?: string },
): Promise<DiskDecision> {
  const device = describeDevice(path);
  const repository = await context.openRepository();
  const successor = { vmId, diskName, device };
  const { parent, diskName: name } = await findSuccession(context, successor, { repository });
  const lastBackupMs = parent === undefined ? null : Date.parse(parent.manifest.capturedAt);
  const state = {
    lastBackupMs,
    changedBlocks: await countChanged(context, device, repository.id),
    blockBytes: 512 * 2 ** blockShiftFor(device.sectorCount),
    isAsked: false,
    seed: crc32c(new TextEncoder().encode(`${vmId}\0${name}`)),
  };
  return decide(policy, state, context.clock.now().getTime());
}

/**
 * Blocks that are marked in the kernel, and those that another repository's flush, or one that
 * failed, has collected since. One that is both counts twice.
 */
async function countChanged(
  context: JobContext,
  device: BlockDevice,
  repositoryId: string,
): Promise<number> {
  const tracked = await trackedSlot(context, device);
  if (tracked === undefined) {
    context.progress.message(
      `warning: ${device.path} is not tracked, and its changed blocks are not counted; \`ibackup track start ${device.path}\` does`,
    );
    return 0;
  }
  const { slot, session } = tracked;
  const place = { runtimeFolder: context.runtimeDir(), range: device, repositoryId };
  const pending = new PendingSet(place, slot.blockCount);
  const isOfSession = pending.state?.session === session;
  return slot.dirtyBlocks + (isOfSession ? pending.look().count() : 0);
}

async function trackedSlot(context: JobContext, device: BlockDevice) {
  try {
    const status = await withHelper(context, readTrackingStatus);
    const slot = slotFor(status, device);
    if (slot === undefined || status.session === undefined) return undefined;
    if (readNote(context.runtimeDir(), slot) === undefined) return undefined;
    return { slot, session: sessionNameOf(status.session, slot) };
  } catch (error) {
    // Broken tracking stops no flush, and no decision.
    if (error instanceof IbackupError && error.code === "TRACKER") return undefined;
    throw error;
  }
}
