/**
 * Whether a backup is to be taken now (figure 8 of the patent).
 *
 * A condition that holds goes on holding until the next backup. So each has one instant from which on
 * it holds; the first of any-of counts, and the last of all-of.
 */
import { formatCount, formatDuration } from "../core/units.ts";
import { assert } from "../errors.ts";
import { nextOnCalendar } from "./calendar.ts";
import type { Condition, TriggerPolicy } from "./policy.ts";
import { quietUntil } from "./quiet_hours.ts";

/** What is known of a disk. Instants are milliseconds since 1970. */
export interface TriggerState {
  /** The instant that its last backup represents; null when there is none. */
  lastBackupMs: number | null;
  /** Distinct blocks that have changed since. */
  changedBlocks: number;
  blockBytes: number;
  /** Somebody has asked for a backup. */
  isAsked: boolean;
  /** Any integer that differs from machine to machine, and from disk to disk. */
  seed: number;
}

/** What to do, and why, in words for people and manifests. */
export type Decision =
  | { isDue: true; why: string }
  /** `atMs`: when it will be due if nothing more changes; null: not before something does. */
  | { isDue: false; atMs: number | null; why: string };

/** A last backup from further ahead than this was taken while the clock was wrong. */
const SKEW_MAX_MS = 3_600_000;

const LOCAL_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Nothing is asked but the arguments: same arguments, same decision. */
export function decide(policy: TriggerPolicy, state: TriggerState, nowMs: number): Decision {
  if (state.isAsked) return { isDue: true, why: "asked for" };
  const zone = policy.zone ?? LOCAL_ZONE;
  const lastMs = lastBackupOf(state, nowMs);
  const due =
    lastMs === undefined
      ? { atMs: nowMs, why: "no backup to continue" }
      : dueOf(policy, { state, lastMs, zone, jitterMs: jitterOf(policy, state.seed, lastMs) });
  if (due.atMs === Number.POSITIVE_INFINITY) return { isDue: false, atMs: null, why: due.why };

  const earliestMs = Math.max(due.atMs, nowMs, (lastMs ?? nowMs) + gapOf(policy, lastMs));
  const quiet = quietUntil(policy.quiet ?? [], zone, earliestMs);
  const atMs = quiet?.untilMs ?? earliestMs;
  if (atMs <= nowMs) return { isDue: true, why: due.why };
  if (quiet !== undefined) return { isDue: false, atMs, why: `${due.why}; quiet ${quiet.text}` };
  const isGap = atMs > due.atMs;
  return { isDue: false, atMs, why: isGap ? `${due.why}; min-gap` : due.why };
}

/** Undefined: whatever there is does not count. */
function lastBackupOf({ lastBackupMs }: TriggerState, nowMs: number): number | undefined {
  if (lastBackupMs === null || lastBackupMs - nowMs > SKEW_MAX_MS) return undefined;
  return Math.min(lastBackupMs, nowMs);
}

function gapOf(policy: TriggerPolicy, lastMs: number | undefined): number {
  return lastMs === undefined ? 0 : (policy["min-gap"] ?? 0);
}

/** The instant from which on a condition holds: infinity where only more changes can make it hold. */
interface Due {
  atMs: number;
  why: string;
}

interface Facts {
  state: TriggerState;
  lastMs: number;
  zone: string;
  jitterMs: number;
}

function dueOf(condition: Condition, facts: Facts): Due {
  const { blocks, bytes, every, cron, any, all } = condition;
  const { state, lastMs, zone, jitterMs } = facts;
  if (blocks !== undefined) return dueAfterBlocks(blocks, state);
  if (bytes !== undefined) return dueAfterBlocks(Math.ceil(bytes / state.blockBytes), state);
  if (every !== undefined) {
    const why = `${formatDuration(every)} since the last backup`;
    return { atMs: lastMs + every + jitterMs, why };
  }
  if (cron !== undefined) {
    const nextMs = nextOnCalendar(cron, zone, lastMs) ?? Number.POSITIVE_INFINITY;
    return { atMs: nextMs + jitterMs, why: `calendar ${cron}` };
  }
  if (any !== undefined) return firstOf(any.map((one) => dueOf(one, facts)));
  assert(all !== undefined, "a condition has one field");
  return lastOf(all.map((one) => dueOf(one, facts)));
}

function dueAfterBlocks(needed: number, { changedBlocks }: TriggerState): Due {
  if (changedBlocks >= needed) {
    const why = `${formatCount(changedBlocks, "changed block")} of ${needed.toLocaleString("en-US")}`;
    return { atMs: Number.NEGATIVE_INFINITY, why };
  }
  return { atMs: Number.POSITIVE_INFINITY, why: formatCount(needed, "changed block") };
}

function firstOf(dues: readonly Due[]): Due {
  const atMs = Math.min(...dues.map((due) => due.atMs));
  const first = dues.filter((due) => due.atMs === atMs);
  return { atMs, why: first.map(({ why }) => why).join(" or ") };
}

function lastOf(dues: readonly Due[]): Due {
  const why = dues.map((due) => due.why).join(" and ");
  return { atMs: Math.max(...dues.map((due) => due.atMs)), why };
}

/** The same for the same backup: asked again, it does not move. */
function jitterOf({ jitter = 0 }: TriggerPolicy, seed: number, lastMs: number): number {
  let mixed = Math.imul((seed ^ lastMs) | 0, 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
  mixed = (mixed ^ (mixed >>> 13)) >>> 0;
  return Math.floor((mixed / 0x1_0000_0000) * jitter);
}
