/** A disk that is backed up: what it is, its lock, and the tracking of its writes. */
import { closeSync, fsyncSync, openSync } from "node:fs";
import type { BlockSet } from "../core/block_set.ts";
import type { TrackingFacts } from "../core/gap_check.ts";
import type { WriteCounters } from "../core/write_counters.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { freezeTargets, mountsOf } from "../disk/mounts.ts";
import { readWriteCounters } from "../disk/write_counters.ts";
import { assert, IbackupError } from "../errors.ts";
import { readNote, sessionNameOf } from "../tracker/attachments.ts";
import { drain, type FreezeTarget, type FrozenMount, freeze, thaw } from "../tracker/freezer.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import type { PendingSet } from "../tracker/pending.ts";
import type { LastCollect } from "../tracker/pending_state.ts";
import {
  blockShiftFor,
  collect,
  readTrackingStatus,
  type Session,
  type Slot,
  slotFor,
  type TrackingStatus,
} from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { lockDevice } from "./device_lock.ts";
import {
  audit,
  kernelCount,
  lookAt,
  noteAudit,
  withNotedTaint,
  withTaintOf,
} from "./self_audit.ts";

export class SourceDisk {
  readonly device: BlockDevice;
  readonly blockBytes: number;
  readonly blockCount: number;
  /** Held while this is open. */
  readonly lockFile: string;
  readonly session: Session | undefined;
  /** Why the tracking that is there is of no use: pins of it are missing. */
  readonly brokenTracking: string | undefined;
  readonly #helper: HelperProcess;
  readonly #runtimeFolder: string;
  #slot: Slot | undefined;

  constructor(device: BlockDevice, helper: HelperProcess, state: Tracking & { lockFile: string }) {
    const { lockFile, ...tracking } = state;
    this.device = device;
    this.lockFile = lockFile;
    this.#helper = helper;
    this.#runtimeFolder = tracking.runtimeFolder;
    this.brokenTracking = tracking.broken;
    this.session = tracking.slot && tracking.session;
    this.#slot = tracking.slot;
    const sectorsPerBlock = 2 ** blockShiftFor(device.sectorCount);
    this.blockBytes = 512 * sectorsPerBlock;
    this.blockCount = Math.ceil(device.sectorCount / sectorsPerBlock);
  }

  /** Undefined when the disk is not tracked, at another size, or from another runtime folder. */
  get slot(): Slot | undefined {
    return this.#slot;
  }

  /** What the gap check needs to know of the tracking, as of the last collect. */
  get trackingFacts(): TrackingFacts | undefined {
    if (this.session === undefined || this.#slot === undefined) return undefined;
    return {
      bootId: this.session.bootId,
      session: sessionNameOf(this.session, this.#slot),
      diskSequence: this.device.diskSequence,
      taints: this.#slot.taints,
      seesEveryWrite: this.#slot.hooks.includes("block"),
    };
  }

  /** Writes out what programs and file systems still hold back in memory. */
  async sync(): Promise<void> {
    const mountpoints = new Set(mountsOf(this.device).map(({ mountpoint }) => mountpoint));
    for (const mountpoint of mountpoints) {
      await this.#helper.ask({ name: "syncRequest", fields: {}, tail: mountpoint });
    }
    const descriptor = openSync(this.device.path, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  /** Begins a new epoch of the pending set and moves the kernel's dirty bits into it. */
  async collect(pending: PendingSet): Promise<BlockSet> {
    assert(this.session !== undefined && this.#slot !== undefined, "the disk is tracked");
    const auditor = { runtimeFolder: this.#runtimeFolder, helper: this.#helper };
    const from = { slot: this.#slot, session: this.session.id };
    // Both before the bitmap is emptied: what they count has been marked by then. The second is
    // held against the hooks, so that what the first counted is among it.
    const whole = readWriteCounters(this.device.wholeDisk);
    const before = kernelCount(auditor, this.#slot);
    // While it is busy the hooks' count is taken at once: what ends in between hides what was missed.
    const seen = before?.inFlight ? await lookAt(auditor, this.#slot) : undefined;
    const { blocks, slot } = await collect(this.#helper, from, pending.beginEpoch());
    if (slot.attachment !== this.#slot.attachment) throw restarted(this.device.path);
    const audited = await audit(auditor, seen ?? slot, before);
    if (audited.missedEnds) pending.addRecent();
    const isExact = noteAudit(auditor, audited, { before, after: kernelCount(auditor, slot) });
    if (isExact || before === undefined) pending.forgetRecent();
    this.#slot = withTaintOf(slot, audited.slot);
    pending.noteCollect(before && whole ? this.#lastCollect(whole.counters) : null);
    // What frames may have lost, the pending file has.
    return audited.missedEnds ? pending.readEpoch() : (blocks ?? pending.readEpoch());
  }

  /** What proves later that nothing was written since; null where it would prove nothing. */
  #lastCollect(counters: WriteCounters): LastCollect | null {
    const slot = this.#slot;
    // Without a request queue, a write is counted before its end is marked.
    if (slot === undefined || slot.bioBased || !slot.hooks.includes("block")) return null;
    return { counters, taints: slot.taints };
  }

  /** The file systems on the disk that are mounted, in the order in which they are frozen. */
  freezeTargets(): FreezeTarget[] {
    return freezeTargets(this.device);
  }

  /** The helper thaws after `limitMs` whatever happens, and when this process ends. */
  async freeze(targets: readonly FreezeTarget[], limitMs: number): Promise<FrozenMount[]> {
    return await freeze(this.#helper, targets, limitMs);
  }

  async thaw(): Promise<{ frozenMs: number; expired: boolean }> {
    return await thaw(this.#helper);
  }

  /** @returns False when something was still in flight on the whole disk after that time. */
  async drain(timeoutMs: number): Promise<boolean> {
    return await drain(this.#helper, this.device.wholeDisk, timeoutMs);
  }

  async close(): Promise<void> {
    await this.#helper.close();
  }
}

interface Tracking {
  runtimeFolder: string;
  session: Session | undefined;
  slot: Slot | undefined;
  broken: string | undefined;
}

/**
 * Opens and locks a disk; the lock is the helper's, and goes when either process ends.
 * @param waitMs How long to wait for another ibackup that works on the disk.
 * @throws IbackupError LOCKED when it still does.
 */
export async function openSourceDisk(
  context: JobContext,
  path: string,
  waitMs = 0,
): Promise<SourceDisk> {
  const device = describeDevice(path);
  const helper = new HelperProcess({ path: await context.helper(), args: context.helperArgs });
  try {
    const lockFile = await lockDevice(context, helper, { device, waitMs });
    const tracking = await findTracking(context, helper, device);
    return new SourceDisk(device, helper, { ...tracking, lockFile });
  } catch (error) {
    await helper.close();
    throw error;
  }
}

async function findTracking(
  context: JobContext,
  helper: HelperProcess,
  device: BlockDevice,
): Promise<Tracking> {
  const runtimeFolder = context.runtimeDir();
  const { status, broken } = await statusOrNone(context, helper);
  const slot = slotFor(status, device);
  const note = slot?.sectorCount === device.sectorCount ? readNote(runtimeFolder, slot) : undefined;
  return {
    runtimeFolder,
    session: status.session,
    slot: slot && note && withNotedTaint(slot, note),
    broken,
  };
}

/** Its slot has the same number, but not the bits of before: they are gone. */
function restarted(path: string): IbackupError {
  return new IbackupError("TRACKER", `Cannot tell what was written to "${path}"`, {
    why: "its tracking was stopped and started again meanwhile",
    fix: "run the flush again; it compares the whole disk",
  });
}

/**
 * Where tracking is impossible (no bpffs) or broken (pins were deleted or replaced) nothing is
 * tracked, and a backup is still possible.
 */
async function statusOrNone(
  context: JobContext,
  helper: HelperProcess,
): Promise<{ status: TrackingStatus; broken: string | undefined }> {
  const none: TrackingStatus = { session: undefined, slots: [] };
  try {
    return { status: await readTrackingStatus(helper), broken: undefined };
  } catch (error) {
    if (!(error instanceof IbackupError)) throw error;
    if (error.code === "UNSUPPORTED") return { status: none, broken: undefined };
    // Without the helper there is no lock either.
    if (error.code !== "TRACKER" || helper.failure !== undefined) throw error;
    const { message, why, fix } = error;
    context.progress.message(`${message}: ${why}; to track this disk again, ${fix}`);
    return { status: none, broken: `tracking is broken: ${message}: ${why}` };
  }
}
