/**
 * Holds what the hooks saw against what the kernel counted. Pure.
 *
 * A write is marked when it begins and when it ends, and counted once when it has ended.
 *
 * - **Neither was seen:** the kernel counted more writes than the hooks saw begin, and more than
 *   they saw end. A written block may be missing: a taint.
 * - **Only the end was missed:** the block was marked when the write began. It may have been read
 *   before the data reached the disk, so it has to be read again.
 * - **Only the beginning was missed:** the mark at the end is enough.
 *
 * Where the count began with writes in flight, of one whose end was missed the beginning may have been
 * missed as well, and others that have begun since would hide that: then it is a taint too.
 */
import type { WriteCounters } from "./write_counters.ts";

/** Sectors of the writes, discards and zeroings that the hooks saw begin, and end. */
export interface HookCounters {
  sectorsIssued: number;
  sectorsCompleted: number;
}

/** Both counts of one moment. */
export interface Counts {
  kernel: WriteCounters;
  hooks: HookCounters;
}

/** What later counts are held against. */
export interface CountsAtFirst extends Counts {
  /** Nothing was in flight. */
  isExact: boolean;
}

/** In sectors; never less than none. The hooks may also see more than is counted. */
export interface Missed {
  /** Of writes of which neither end was seen, or may have been. */
  unseen: number;
  /** Of writes whose end was not seen. */
  ends: number;
}

/** @param now The kernel's counters read first: a hook runs before the kernel counts. */
export function findMissed(since: CountsAtFirst, now: Counts): Missed {
  const grown = (of: (counts: Counts) => number): number => of(now) - of(since);
  const counted = grown(({ kernel }) => kernel.sectorsWritten + kernel.sectorsDiscarded);
  const begun = grown(({ hooks }) => hooks.sectorsIssued);
  const ended = grown(({ hooks }) => hooks.sectorsCompleted);
  return {
    unseen: Math.max(0, counted - (since.isExact ? Math.max(begun, ended) : ended)),
    ends: Math.max(0, counted - ended),
  };
}
