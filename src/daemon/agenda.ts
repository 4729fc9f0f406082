/** What is to be done next, and when: pure functions of what is known. */
import type { DiskDecision } from "../job/due.ts";
import { nextOnCalendar } from "../trigger/calendar.ts";

/** What the daemon knows of a disk when it asks what to do. */
export interface DiskState {
  /** A flush of it waits or is under way. */
  isBusy: boolean;
  /** What its repository says was read. */
  isKnown: boolean;
  /** After a failure nothing is tried before then. */
  retryAtMs: number | undefined;
  /** Undefined without [trigger], or while it is not known. */
  decision: DiskDecision | undefined;
}

/** `atMs`: when to ask again, if nothing happens; infinity: not before something does. */
export interface DiskAgenda {
  action: "look" | "flush" | undefined;
  atMs: number;
}

export function diskAgenda(state: DiskState, nowMs: number): DiskAgenda {
  const { isBusy, isKnown, retryAtMs, decision } = state;
  const never = { action: undefined, atMs: Number.POSITIVE_INFINITY };
  if (isBusy) return never;
  if (retryAtMs !== undefined && retryAtMs > nowMs) return { action: undefined, atMs: retryAtMs };
  if (!isKnown) return { action: "look", atMs: nowMs };
  if (decision === undefined) return never;
  if (decision.isDue) return { action: "flush", atMs: nowMs };
  return { action: undefined, atMs: decision.atMs ?? Number.POSITIVE_INFINITY };
}

/**
 * When a chore is to be done: once for all instants of its calendar that have passed since the last
 * time, however many those are.
 */
export function choreDueMs(schedule: string, lastMs: number): number {
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return nextOnCalendar(schedule, zone, lastMs) ?? Number.POSITIVE_INFINITY;
}

const FIRST_PAUSE_MS = 10_000;
const PAUSE_MS_MAX = 15 * 60_000;

/**
 * How long to wait after so many failures in a row: the double each time.
 * @param chance From 0 up to 1: machines that failed together do not come back together.
 */
export function pauseAfter(failures: number, chance: number): number {
  const longest = Math.min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** (failures - 1));
  return Math.round(longest * (1 - chance / 2));
}
