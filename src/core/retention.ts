/**
 * Which backups of a disk are kept. A plan to print first and to carry out then.
 *
 * No clock is asked: `within` counts from the newest backup, so that a machine that was off for a
 * year, or whose clock is wrong, does not lose all it has.
 */
import { assert } from "../errors.ts";

/** What to keep. A backup is kept as soon as one of them says so. */
export interface RetentionPolicy {
  /** So many of the newest. */
  last?: number | undefined;
  /** The newest of each of so many UTC calendar periods in which there is a backup. */
  hourly?: number | undefined;
  daily?: number | undefined;
  weekly?: number | undefined;
  monthly?: number | undefined;
  yearly?: number | undefined;
  /** All not older than the newest one by more than this. */
  withinMs?: number | undefined;
  /** All that have one of these tags. */
  tags?: readonly string[] | undefined;
}

/** What the plan needs to know of a backup. */
export interface RetentionCandidate {
  backupId: string;
  /** RFC 3339, UTC, milliseconds. */
  capturedAt: string;
  tags: readonly string[];
  isProtected: boolean;
}

export interface RetentionVerdict {
  backupId: string;
  kept: boolean;
  /** "newest", "daily 2026-11-22", "tag release"...; never empty. */
  reasons: string[];
}

type Period = "hourly" | "daily" | "weekly" | "monthly" | "yearly";

const PERIODS: readonly Period[] = ["hourly", "daily", "weekly", "monthly", "yearly"];
/** Of `2026-11-22T17:01:02.000Z`, how many characters name the period. */
const PERIOD_LENGTH = { hourly: 13, daily: 10, monthly: 7, yearly: 4 } as const;
const DAY_MS = 24 * 60 * 60 * 1000;

/** True when a policy says nothing at all. */
export function isEmptyPolicy({ tags, ...numbers }: RetentionPolicy): boolean {
  const isSaid = Object.values(numbers).some((value) => value !== undefined);
  return !isSaid && (tags === undefined || tags.length === 0);
}

/**
 * Says of each backup whether it is kept, and why.
 *
 * The newest is always kept: a flush under way may continue it.
 *
 * @param backups Of one disk, oldest first, in the order of their sequence.
 * @returns In the same order.
 */
export function planRetention(
  backups: readonly RetentionCandidate[],
  policy: RetentionPolicy,
): RetentionVerdict[] {
  const newest = backups.at(-1);
  const rules: Rule[] = [
    (backup) => (backup === newest ? ["newest"] : []),
    lastRule(policy.last ?? 0),
    ...PERIODS.map((period) => periodRule(period, policy[period] ?? 0)),
    (backup) => (newest && isWithin(backup, newest, policy) ? ["within"] : []),
    ({ tags }) => tags.filter((tag) => policy.tags?.includes(tag)).map((tag) => `tag ${tag}`),
    ({ isProtected }) => (isProtected ? ["protected"] : []),
  ];
  const verdicts = backups.toReversed().map((backup) => {
    const reasons = rules.flatMap((rule) => rule(backup));
    const kept = reasons.length > 0;
    return { backupId: backup.backupId, kept, reasons: kept ? reasons : ["no rule keeps it"] };
  });
  return verdicts.reverse();
}

/** Told of one backup after another, newest first; gives its reasons where it keeps one. */
type Rule = (backup: RetentionCandidate) => string[];

function lastRule(count: number): Rule {
  let left = count;
  return () => (left-- > 0 ? [`last ${count}`] : []);
}

function periodRule(period: Period, count: number): Rule {
  const seen = new Set<string>();
  return ({ capturedAt }) => {
    const name = periodOf(period, capturedAt);
    if (seen.has(name) || seen.size >= count) return [];
    seen.add(name);
    return [`${period} ${name}`];
  };
}

function isWithin(
  backup: RetentionCandidate,
  newest: RetentionCandidate,
  { withinMs }: RetentionPolicy,
): boolean {
  if (withinMs === undefined) return false;
  return Date.parse(newest.capturedAt) - Date.parse(backup.capturedAt) <= withinMs;
}

/** The name of the period that an instant lies in: "2026-11-22T17", "2026-W47"... */
function periodOf(period: Period, instant: string): string {
  return period === "weekly" ? weekOf(instant) : instant.slice(0, PERIOD_LENGTH[period]);
}

/** ISO 8601: weeks begin on Monday, and belong to the year that their Thursday is in. */
function weekOf(instant: string): string {
  const midnight = Date.parse(`${instant.slice(0, 10)}T00:00:00Z`);
  const weekday = (new Date(midnight).getUTCDay() + 6) % 7;
  const thursday = new Date(midnight + (3 - weekday) * DAY_MS);
  const year = thursday.getUTCFullYear();
  const week = 1 + Math.floor((thursday.getTime() - Date.UTC(year, 0, 1)) / (7 * DAY_MS));
  return `${year}-W${String(week).padStart(2, "0")}`;
}

/** What a policy would leave at the end of a coming day. */
export interface SimulatedDay {
  /** "2026-11-23". */
  day: string;
  taken: number;
  removed: number;
  kept: number;
  /** Of those kept; RFC 3339. */
  oldest: string;
}

/** How many of the last intervals make the pace. */
const PACE_INTERVALS = 10;
const PACE_MS_MIN = 60_000;

/**
 * What would be kept on each coming day, if backups came at the pace of the last ones and `prune`
 * ran at the end of each day. With a single backup: one a day.
 *
 * @param backups Of one disk, oldest first; not empty.
 * @returns One for each day, the day after the newest backup first.
 */
export function simulateRetention(
  backups: readonly RetentionCandidate[],
  policy: RetentionPolicy,
  days: number,
): SimulatedDay[] {
  const newest = backups.at(-1);
  assert(newest !== undefined, "there is a backup to begin with");
  const paceMs = paceOf(backups);
  const firstMidnight = Math.floor(Date.parse(newest.capturedAt) / DAY_MS + 1) * DAY_MS;
  let present = [...backups];
  let nextMs = Date.parse(newest.capturedAt) + paceMs;
  return Array.from({ length: days }, (_, number) => {
    const midnight = firstMidnight + number * DAY_MS;
    let taken = 0;
    for (; nextMs < midnight + DAY_MS; nextMs += paceMs) {
      present.push(simulated(nextMs));
      taken += 1;
    }
    const verdicts = planRetention(present, policy);
    const left = present.filter((_backup, index) => verdicts[index]?.kept === true);
    const removed = present.length - left.length;
    present = left;
    const oldest = left[0]?.capturedAt ?? "";
    return { day: dayOf(midnight), taken, removed, kept: left.length, oldest };
  });
}

function dayOf(instantMs: number): string {
  return new Date(instantMs).toISOString().slice(0, 10);
}

function simulated(instantMs: number): RetentionCandidate {
  const capturedAt = new Date(instantMs).toISOString();
  return { backupId: capturedAt, capturedAt, tags: [], isProtected: false };
}

/** The median of the last intervals, in milliseconds. */
function paceOf(backups: readonly RetentionCandidate[]): number {
  const instants = backups
    .slice(-PACE_INTERVALS - 1)
    .map(({ capturedAt }) => Date.parse(capturedAt));
  const intervals = instants
    .slice(1)
    .map((instant, index) => instant - (instants[index] ?? instant))
    .sort((left, right) => left - right);
  return Math.max(PACE_MS_MIN, intervals[Math.floor(intervals.length / 2)] ?? DAY_MS);
}
