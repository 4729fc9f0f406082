/**
 * Holds the hooks' counters against the kernel's: what did the hooks miss? (`core/self_audit.ts`)
 *
 * Writes that no hook saw are the taint "writes not seen". Of writes whose end was missed the blocks
 * are read again. Never a false alarm, at the price of some sensitivity while a disk is busy:
 *
 * - The kernel's count is read first, the hooks' second. A disk with a request queue runs the hook
 *   before it counts, so that all that is in the first is in the second; what ends between the two
 *   is in the second alone, and hides as much. So nothing is forgotten before a moment at which
 *   nothing was in flight: then both counts are exact, and later ones are held against these.
 * - Disks without a request queue count in their own drivers, some when a write begins, and before
 *   the hook sees its end. They are judged only with nothing in flight, and looked at again for
 *   a while before it is called a taint.
 * - A partition's count is of what went by its own name; the hooks see all writes to its range.
 *   (The kernel may join writes on both sides of its border and count them here: a false alarm,
 *   for which the next flush compares.)
 * - With `queue/iostats` 0 the kernel counts nothing, and the audit says nothing.
 */
import { release } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { type Counts, findMissed, type Missed } from "../core/self_audit.ts";
import { type CounterReading, isStill } from "../core/write_counters.ts";
import { readQuietCounters, readWriteCounters } from "../disk/write_counters.ts";
import { type AttachmentNote, readNote, writeNote } from "../tracker/attachments.ts";
import type { HelperProcess } from "../tracker/helper_process.ts";
import { readTrackingStatus, type Slot, type TrackingStatus } from "../tracker/tracker.ts";

const TAINT = "writes not seen";
/** The end of a write is counted and seen within microseconds; a guest's CPU may pause meanwhile. */
const LOOKS_AGAIN = 5;
const LOOK_AGAIN_MS = 10;
const NOTHING: Missed = { unseen: 0, ends: 0 };

/** Where the notes are, and whom to ask. */
export interface Auditor {
  runtimeFolder: string;
  helper: HelperProcess;
}

/** What came of a look. */
export interface Audited {
  /** As it was looked at, with its taint. */
  slot: Slot;
  missed: Missed;
  /** More ends of writes were missed than at the last collect. */
  missedEnds: boolean;
}

/** What to note of a disk that has just been attached. */
export async function firstNote(
  device: { major: number; minor: number },
  slot: Slot,
): Promise<AttachmentNote> {
  const reading = await readQuietCounters(device);
  // Of a busy disk with a request queue, the first look: what ended since the attach is then counted
  // for the hooks alone.
  const isUsable = isAuditable(slot) && (reading?.isQuiet === true || !slot.bioBased);
  const hooks = { sectorsIssued: 0, sectorsCompleted: 0 };
  const isExact = reading?.isQuiet === true;
  return {
    device: { major: device.major, minor: device.minor },
    since: reading !== undefined && isUsable ? { kernel: reading.counters, hooks, isExact } : null,
    unseen: 0,
    ends: 0,
    unseenBefore: 0,
    stoppedWith: null,
  };
}

/** The kernel's count, to be read before the hooks'. Undefined when it tells nothing. */
export function kernelCount({ runtimeFolder }: Auditor, slot: Slot): CounterReading | undefined {
  const note = readNote(runtimeFolder, slot);
  return note && isAuditable(slot) ? readWriteCounters(note.device) : undefined;
}

/**
 * @param slot As the helper has just reported it.
 * @param counted By the kernel, read before that.
 */
export async function audit(
  auditor: Auditor,
  slot: Slot,
  counted: CounterReading | undefined,
): Promise<Audited> {
  const note = readNote(auditor.runtimeFolder, slot);
  if (note === undefined) return { slot, missed: NOTHING, missedEnds: false };
  const { latest, missed } = await missedBy(auditor, { note, slot, counted });
  return {
    slot: withTaint(latest, note.unseenBefore + Math.max(missed.unseen, note.unseen)),
    missed,
    missedEnds: missed.ends > note.ends,
  };
}

/**
 * Notes what was found, to be called when the blocks of missed ends are in the pending sets.
 *
 * @param counted By the kernel: before the hooks, and after them.
 * @returns True when nothing was in flight from one count to the other: all that was missed until
 *   then is known.
 */
export function noteAudit(
  { runtimeFolder }: Auditor,
  { slot, missed }: Audited,
  counted: { before: CounterReading | undefined; after: CounterReading | undefined },
): boolean {
  const { before, after } = counted;
  const note = readNote(runtimeFolder, slot);
  if (note === undefined || before === undefined) return false;
  const unseen = Math.max(missed.unseen, note.unseen);
  const ends = Math.max(missed.ends, note.ends);
  const isExact = after !== undefined && isStill(before, after);
  const since = { kernel: before.counters, hooks: hooksOf(slot), isExact };
  const next: AttachmentNote = isExact
    ? { ...note, since, unseen: 0, ends: 0, unseenBefore: note.unseenBefore + unseen }
    : { ...note, unseen, ends };
  writeNote(runtimeFolder, slot, next);
  return isExact;
}

/** The tracking of all disks, with the taint of each. */
export async function auditedStatus(auditor: Auditor): Promise<TrackingStatus> {
  const { slots } = await readTrackingStatus(auditor.helper);
  const counts = new Map(slots.map((slot) => [slot.attachment, kernelCount(auditor, slot)]));
  const status = await readTrackingStatus(auditor.helper);
  const audited: Slot[] = [];
  for (const each of status.slots) {
    const { slot } = await audit(auditor, each, counts.get(each.attachment));
    audited.push(slot);
  }
  return { ...status, slots: audited };
}

/** The slot with the taint that was noted last. */
export function withNotedTaint(slot: Slot, { unseen, unseenBefore }: AttachmentNote): Slot {
  return withTaint(slot, unseenBefore + unseen);
}

/** The slot with the taint of another look at it. */
export function withTaintOf(slot: Slot, { taints }: Slot): Slot {
  return withTaint(slot, taints[TAINT] ?? 0);
}

function withTaint(slot: Slot, count: number): Slot {
  return { ...slot, taints: { ...slot.taints, [TAINT]: count } };
}

interface Look {
  note: AttachmentNote;
  slot: Slot;
  counted: CounterReading | undefined;
}

async function missedBy(
  auditor: Auditor,
  { note, slot, counted }: Look,
): Promise<{ latest: Slot; missed: Missed }> {
  const missed = judge(note, slot, counted);
  let latest = slot;
  for (let look = 0; missed.unseen > note.unseen && look < LOOKS_AGAIN; look++) {
    await delay(LOOK_AGAIN_MS);
    const again = readWriteCounters(note.device);
    latest = await lookAt(auditor, slot);
    missed.unseen = Math.min(missed.unseen, judge(note, latest, again).unseen);
  }
  return { latest, missed };
}

/** The slot as it is now; as it was, when it has been detached meanwhile. */
export async function lookAt({ helper }: Auditor, slot: Slot): Promise<Slot> {
  const { slots } = await readTrackingStatus(helper);
  return slots.find(({ attachment }) => attachment === slot.attachment) ?? slot;
}

function judge(note: AttachmentNote, slot: Slot, counted: CounterReading | undefined): Missed {
  const isUnclear = counted === undefined || (slot.bioBased && counted.inFlight > 0);
  if (note.since === null || isUnclear) return { ...NOTHING };
  const now = { kernel: counted.counters, hooks: hooksOf(slot) };
  return findMissed(note.since, now);
}

function hooksOf({ counters }: Slot): Counts["hooks"] {
  const { sectorsIssued, sectorsCompleted } = counters;
  return { sectorsIssued, sectorsCompleted };
}

/** Hook `buffer` alone does not see what the kernel counts. */
function isAuditable({ hooks, bioBased }: Slot): boolean {
  return hooks.includes("block") && (!bioBased || countsBiosOnce());
}

/** Device mapper of older kernels counts a write that is sent with a flush twice. */
function countsBiosOnce(): boolean {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  return major > 6 || (major === 6 && minor >= 1);
}
