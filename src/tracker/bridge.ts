/**
 * Lets pending sets go on in a new attachment, where nothing was written while nobody tracked.
 *
 * Tracking was stopped, and whatever the kernel's bitmap held went with it. A set is still complete
 * when not one write ended between the newest collect that put bits into it and the new attach.
 * The kernel's counters of the whole disk say so, if they are equal at both ends, and if:
 *
 * 1. At the collect they were read before the bitmap was emptied. A disk with a request queue runs
 *    the hook at the end of a request first and counts second: what was counted by then was marked
 *    before, and collected after. What was not counted by then is counted later, and moves them: so
 *    it does not matter what was in flight. (Where the hook missed an end, the audit of the same
 *    collect finds out, as its count is read after this one.) Disks without a request queue count
 *    first, in their own drivers; their sets never go on (`lastCollect` is null).
 * 2. At the attach they were read after it, with nothing in flight. A write that was in flight at
 *    the attach had its end marked by the new hooks, or ended before: then it has been counted by
 *    the time when nothing is in flight. On kernels that take a request for ended a moment before
 *    they count it, one that passed the hook just before the attach may be counted just after this
 *    reading: then the audit of the next collect finds a write that no hook saw.
 * 3. The counters counted all the time: `queue/iostats` was 1 at the attach of before, at the
 *    collect and at the new attach, and the medium is the same (disk sequence number and size).
 * 4. No taint was raised before `track stop`; passthrough writes are not counted by the kernel.
 *    Where the hooks went another way (pins deleted, bpffs unmounted) that is not known.
 */
import { countedNothing, type WriteCounters } from "../core/write_counters.ts";
import { attachmentOf, readNote } from "./attachments.ts";
import {
  type DiskPlace,
  diskFolderOf,
  type PendingState,
  statesIn,
  writeState,
} from "./pending_state.ts";

/** What is known right after the attach. */
export interface NewAttachment {
  bootId: string;
  /** The session's id and the attachment's. */
  session: string;
  diskSequence: number | undefined;
  sizeBytes: number;
  taints: Readonly<Record<string, number>>;
  /** Of the whole disk, with nothing in flight. */
  counters: WriteCounters;
}

/** To be called after an attach, before anything is collected, with the disk's lock held. */
export function bridgeSets(place: DiskPlace, now: NewAttachment): void {
  for (const { folder, state } of statesIn(diskFolderOf(place))) {
    if (!isComplete(place.runtimeFolder, state, now)) continue;
    const { session, counters } = now;
    const taints = { ...now.taints };
    const { committing } = state;
    writeState(folder, {
      ...state,
      session,
      taints,
      committing: committing && { ...committing, taints },
      lastCollect: { counters, taints },
      bridged: true,
    });
  }
}

function isComplete(
  runtimeFolder: string,
  { lastCollect, committing, ...state }: PendingState,
  now: NewAttachment,
): boolean {
  const stoppedWith = readNote(runtimeFolder, attachmentOf(state.session))?.stoppedWith;
  if (lastCollect === null || !stoppedWith) return false;
  return (
    state.bootId === now.bootId &&
    state.sizeBytes === now.sizeBytes &&
    state.diskSequence !== undefined &&
    state.diskSequence === now.diskSequence &&
    isSame(state.taints, stoppedWith) &&
    isSame(lastCollect.taints, stoppedWith) &&
    (committing === null || isSame(committing.taints, stoppedWith)) &&
    countedNothing(lastCollect.counters, now.counters)
  );
}

function isSame(
  left: Readonly<Record<string, number>>,
  right: Readonly<Record<string, number>>,
): boolean {
  const reasons = [...Object.keys(left), ...Object.keys(right)];
  return reasons.every((reason) => (left[reason] ?? 0) === (right[reason] ?? 0));
}
