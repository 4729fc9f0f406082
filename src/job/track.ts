/** Starts and stops the tracking of disks, and tells what is tracked. */
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { devicePathOf } from "../disk/device_name.ts";
import { IbackupError } from "../errors.ts";
import { readNote } from "../tracker/attachments.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import {
  detach,
  type HookName,
  readTrackingStatus,
  type Session,
  type Slot,
  slotFor,
  type TrackingStatus,
} from "../tracker/tracker.ts";
import { beginAttachment, noteEnd } from "./attachment.ts";
import type { JobContext } from "./context.ts";
import { type Auditor, auditedStatus } from "./self_audit.ts";

export interface TrackedDevice extends Slot {
  /** Path of the device. */
  device: string;
}

export interface Tracking {
  /** Null when nothing is tracked. */
  session: Session | null;
  devices: TrackedDevice[];
}

export interface Started extends Tracking {
  /** Those of the devices that were tracked already, just as asked. */
  already: string[];
}

/**
 * Tracks each device from now on, until the machine stops or `stopTracking`.
 *
 * A device that is tracked already stays as it is; one whose size has changed, or whose pending sets
 * are in another runtime folder, is taken up anew.
 * @returns The devices that were asked for.
 * @throws IbackupError DEVICE, UNSUPPORTED, NOT_PERMITTED or TRACKER.
 */
export async function startTracking(
  context: JobContext,
  paths: readonly string[],
  hooks: readonly HookName[],
): Promise<Started> {
  const devices = paths.map((path) => describeDevice(path));
  for (const device of devices) refuseUntrackable(device);
  const runtimeFolder = context.runtimeDir();
  return await withHelper(context, async (helper) => {
    const already: string[] = [];
    const slots: Slot[] = [];
    for (const device of devices) {
      const current = await currentSlot(helper, { device, hooks, runtimeFolder });
      if (current !== undefined) already.push(device.path);
      slots.push(current ?? (await beginAttachment(context, helper, { device, hooks })));
    }
    const { session } = await readTrackingStatus(helper);
    const tracked = slots.map((slot) => ({ device: pathOf(slot), ...slot }));
    return { session: session ?? null, devices: tracked, already };
  });
}

/**
 * @param paths None: every device, and all that ibackup has pinned, even when it is broken.
 * @returns What was tracked and is no longer. Not being tracked is fine.
 */
export async function stopTracking(
  context: JobContext,
  paths: readonly string[],
): Promise<{ stopped: string[] }> {
  return await withHelper(context, async (helper) => {
    const auditor = { runtimeFolder: context.runtimeDir(), helper };
    if (paths.length === 0) {
      const stopped = await slotsOrNothing(auditor);
      await detach(helper, undefined);
      for (const slot of stopped) noteEnd(context, slot);
      return { stopped: stopped.map(pathOf) };
    }
    const status = await auditedStatus(auditor);
    const found = paths.map((path) => slotFor(status, describeDevice(path)));
    const slots = found.filter((slot) => slot !== undefined);
    for (const slot of slots) {
      await detach(helper, slot);
      noteEnd(context, slot);
    }
    return { stopped: slots.map(pathOf) };
  });
}

/** @param paths None: all that are tracked. */
export async function trackingStatus(
  context: JobContext,
  paths: readonly string[],
): Promise<Tracking> {
  const status = await withHelper(context, async (helper) =>
    auditedStatus({ runtimeFolder: context.runtimeDir(), helper }),
  );
  const wanted = paths.map((path) => slotFor(status, describeDevice(path)));
  const slots = paths.length === 0 ? status.slots : wanted.filter((slot) => slot !== undefined);
  return {
    session: status.session ?? null,
    devices: slots
      .map((slot) => ({ device: pathOf(slot), ...slot }))
      .sort((left, right) => left.device.localeCompare(right.device)),
  };
}

/** Starts the helper, and ends it whatever happens. */
export async function withHelper<T>(
  context: Pick<JobContext, "helper" | "helperArgs">,
  work: (helper: HelperProcess) => Promise<T>,
): Promise<T> {
  const helper = new HelperProcess({ path: await context.helper(), args: context.helperArgs });
  try {
    return await work(helper);
  } finally {
    await helper.close();
  }
}

/** Path of the device that a slot tracks. */
export function pathOf(slot: Slot): string {
  return devicePathOf(slot.wholeDisk, slot.startSector);
}

/** @throws IbackupError UNSUPPORTED: writes can pass the block layer unseen, or in another order. */
export function refuseUntrackable(device: BlockDevice): void {
  const { path } = device;
  const reason = untrackableReason(device);
  if (reason === undefined) return;
  throw new IbackupError("UNSUPPORTED", `Cannot track "${path}"`, {
    why: reason,
    fix: "back it up without tracking: `ibackup flush --scan` compares the whole disk",
  });
}

function untrackableReason(device: BlockDevice): string | undefined {
  const { zoned, dax, bioBased, wholeDisk } = device;
  if (dax) return "it is a DAX device, whose writes pass the block layer by";
  if (zoned !== "none") return `it is a zoned disk (${zoned})`;
  // Of bios that were merged into one request, the kernel reports the end of the first alone.
  if (bioBased && wholeDisk.name.startsWith("nvme")) {
    return "it is an NVMe disk of several paths, which does not report the end of every write";
  }
  return undefined;
}

/** The slot that already does what is asked; one that no flush could trust is given up. */
async function currentSlot(
  helper: HelperProcess,
  asked: { device: BlockDevice; hooks: readonly HookName[]; runtimeFolder: string },
): Promise<Slot | undefined> {
  const { device, hooks, runtimeFolder } = asked;
  const slot = slotFor(await readTrackingStatus(helper), device);
  if (slot === undefined) return undefined;
  if (slot.sectorCount !== device.sectorCount || readNote(runtimeFolder, slot) === undefined) {
    await detach(helper, slot);
    return undefined;
  }
  if (slot.hooks.toSorted().join() === hooks.toSorted().join()) return slot;
  throw new IbackupError("TRACKER", `Cannot track "${device.path}" with ${hooks.join(" and ")}`, {
    why: `it is tracked already, with ${slot.hooks.join(" and ")}`,
    fix: `run \`ibackup track stop ${device.path}\` first; the next flush compares the whole disk`,
  });
}

/** What is broken is to be stopped too, so not knowing what was tracked is no failure. */
async function slotsOrNothing(auditor: Auditor): Promise<TrackingStatus["slots"]> {
  try {
    return (await auditedStatus(auditor)).slots;
  } catch (error) {
    if (error instanceof IbackupError && error.code === "TRACKER") return [];
    throw error;
  }
}
