/** The beginning and the end of a disk's tracking, and what is noted of them. */
import { rmSync } from "node:fs";
import type { BlockDevice } from "../disk/block_device.ts";
import { readQuietCounters } from "../disk/write_counters.ts";
import { IbackupError } from "../errors.ts";
import { readNote, recentFileOf, sessionNameOf, writeNote } from "../tracker/attachments.ts";
import { bridgeSets } from "../tracker/bridge.ts";
import type { HelperProcess } from "../tracker/helper_process.ts";
import { diskFolderOf, statesIn } from "../tracker/pending_state.ts";
import { attach, type HookName, readTrackingStatus, type Slot } from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { lockDevice } from "./device_lock.ts";
import { firstNote } from "./self_audit.ts";

/**
 * Attaches a disk. Where the kernel counted no write since it was tracked last, its pending sets
 * go on as if it had been tracked all the time.
 */
export async function beginAttachment(
  context: JobContext,
  helper: HelperProcess,
  { device, hooks }: { device: BlockDevice; hooks: readonly HookName[] },
): Promise<Slot> {
  const slot = await attach(helper, device, hooks);
  writeNote(context.runtimeDir(), slot, await firstNote(device, slot));
  await bridge(context, helper, { device, slot });
  return slot;
}

async function bridge(
  context: JobContext,
  helper: HelperProcess,
  { device, slot }: { device: BlockDevice; slot: Slot },
): Promise<void> {
  const place = { runtimeFolder: context.runtimeDir(), range: device };
  if (statesIn(diskFolderOf(place)).length === 0) return;
  const counted = await readQuietCounters(device.wholeDisk);
  const { session } = await readTrackingStatus(helper);
  if (!counted?.isQuiet || session === undefined) return;
  if (!(await takeLock(context, helper, device))) return;
  const { diskSequence, sizeBytes } = device;
  bridgeSets(place, {
    bootId: session.bootId,
    session: sessionNameOf(session, slot),
    diskSequence,
    sizeBytes,
    taints: slot.taints,
    counters: counted.counters,
  });
}

/** False while a flush has the lock: it knows these sets by heart, and would undo the change. */
async function takeLock(
  context: JobContext,
  helper: HelperProcess,
  device: BlockDevice,
): Promise<boolean> {
  try {
    await lockDevice(context, helper, { device, waitMs: 0 });
    return true;
  } catch (error) {
    if (error instanceof IbackupError && error.code === "LOCKED") return false;
    throw error;
  }
}

/**
 * To be called when a slot has been detached: only what ended in this way can go on later.
 *
 * @param slot As it was right before.
 */
export function noteEnd(context: JobContext, slot: Slot): void {
  const runtimeFolder = context.runtimeDir();
  const note = readNote(runtimeFolder, slot);
  if (note !== undefined) writeNote(runtimeFolder, slot, { ...note, stoppedWith: slot.taints });
  rmSync(recentFileOf(runtimeFolder, slot), { force: true });
}
