/**
 * The kernel's own counters of what was written to a disk, and what they prove. Pure.
 *
 * The block layer counts each write and discard when it has ended, whoever made it and whether or
 * not a hook saw it. Two things follow from two readings:
 *
 * - **Nothing was written** between them, where they are equal (`countedNothing`). That bridges a
 *   time in which nobody tracked the disk.
 * - **The hooks missed something**, where the kernel counted more than they did (`self_audit.ts`).
 *
 * What proves nothing: commands that a program sends to the driver itself are not counted, nor is
 * anything while `queue/iostats` is 0. One that is switched off, and on again before the second
 * reading, leaves no trace here.
 */
import { z } from "zod";

const count = z.int().min(0);

/** Since the disk appeared; they only ever grow. */
export const writeCountersSchema = z.strictObject({
  sectorsWritten: count,
  sectorsDiscarded: count,
  /**
   * Of a loop disk: which file it is on, and when that was changed last, by whatever. Absent for
   * others.
   */
  backingFile: z.string().optional(),
});

export type WriteCounters = z.infer<typeof writeCountersSchema>;

/** One look at the counters. */
export interface CounterReading {
  counters: WriteCounters;
  /** Requests of all kinds that have ended: reads and flushes as well. */
  ended: number;
  /** Reads and writes that have begun and not yet ended. */
  inFlight: number;
}

/** @param text `stat` of a block device in sysfs. @returns Undefined when it makes no sense. */
export function parseDiskStat(text: string): CounterReading | undefined {
  const fields = text.trim().split(/\s+/).map(Number);
  const at = (index: number): number => fields[index] ?? Number.NaN;
  const parsed = writeCountersSchema.safeParse({
    sectorsWritten: at(6),
    sectorsDiscarded: at(13),
  });
  const inFlight = at(8);
  // Linux before 5.5 does not tell of flushes.
  const ended = at(0) + at(4) + at(11) + (fields[15] ?? 0);
  const isComplete = parsed.success && Number.isInteger(inFlight) && Number.isInteger(ended);
  return isComplete ? { counters: parsed.data, ended, inFlight } : undefined;
}

/** True when nothing was in flight at two readings, and nothing ended between them. */
export function isStill(before: CounterReading, after: CounterReading): boolean {
  return before.inFlight === 0 && after.inFlight === 0 && before.ended === after.ended;
}

/** True when not one sector was written or discarded by what ended between the two readings. */
export function countedNothing(before: WriteCounters, after: WriteCounters): boolean {
  return (
    before.sectorsWritten === after.sectorsWritten &&
    before.sectorsDiscarded === after.sectorsDiscarded &&
    before.backingFile === after.backingFile
  );
}
