import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  isEmptyPolicy,
  planRetention,
  type RetentionCandidate,
  type RetentionPolicy,
  simulateRetention,
} from "../../src/core/retention.ts";

const HOUR_MS = 3_600_000;

function backupAt(capturedAt: string, more: Partial<RetentionCandidate> = {}): RetentionCandidate {
  const iso = new Date(capturedAt).toISOString();
  return { backupId: iso, capturedAt: iso, tags: [], isProtected: false, ...more };
}

function keptOf(backups: RetentionCandidate[], policy: RetentionPolicy): string[] {
  return planRetention(backups, policy).flatMap(({ kept, backupId }) => (kept ? backupId : []));
}

/** The slow, obvious model: for each rule, group all backups by period, and take the newest of each. */
function modelKept(backups: RetentionCandidate[], policy: RetentionPolicy): Set<string> {
  const kept = new Set<string>();
  const newest = backups.at(-1);
  if (newest) kept.add(newest.backupId);
  for (const one of backups.slice(Math.max(0, backups.length - (policy.last ?? 0)))) {
    kept.add(one.backupId);
  }
  const names: [number, (at: Date) => string][] = [
    [policy.hourly ?? 0, (at) => `${at.toISOString().slice(0, 10)} ${at.getUTCHours()}`],
    [policy.daily ?? 0, (at) => `${Math.floor(at.getTime() / (24 * HOUR_MS))}`],
    // 1 January 1970 was a Thursday: weeks of Monday begin three days before.
    [policy.weekly ?? 0, (at) => `${Math.floor((at.getTime() / (24 * HOUR_MS) + 3) / 7)}`],
    [policy.monthly ?? 0, (at) => `${at.getUTCFullYear()} ${at.getUTCMonth()}`],
    [policy.yearly ?? 0, (at) => `${at.getUTCFullYear()}`],
  ];
  for (const [count, nameOf] of names) {
    const lastOf = new Map<string, string>();
    for (const { capturedAt, backupId } of backups) {
      const name = nameOf(new Date(capturedAt));
      // A period stands where its newest backup does.
      lastOf.delete(name);
      lastOf.set(name, backupId);
    }
    for (const id of count > 0 ? [...lastOf.values()].slice(-count) : []) kept.add(id);
  }
  for (const { backupId, capturedAt, tags, isProtected } of backups) {
    const ageMs = Date.parse(newest?.capturedAt ?? "") - Date.parse(capturedAt);
    const isYoung = policy.withinMs !== undefined && ageMs <= policy.withinMs;
    const isTagged = tags.some((tag) => policy.tags?.includes(tag));
    if (isYoung || isTagged || isProtected) kept.add(backupId);
  }
  return kept;
}

const anyBackups = fc
  .array(
    fc.record({
      gapMs: fc.oneof(
        fc.integer({ min: 1, max: 3 * HOUR_MS }),
        fc.integer({ min: 1, max: 60 * 24 * HOUR_MS }),
        // A clock that was put back.
        fc.integer({ min: -40 * HOUR_MS, max: -1 }),
      ),
      tags: fc.subarray(["release", "audit"]),
      isProtected: fc.integer({ min: 0, max: 19 }).map((it) => it === 0),
    }),
    { maxLength: 60 },
  )
  .map((gaps) => {
    let at = Date.UTC(2024, 11, 28, 5);
    return gaps.map(({ gapMs, tags, isProtected }, number): RetentionCandidate => {
      at += gapMs;
      const capturedAt = new Date(at).toISOString();
      return { backupId: `${number} ${capturedAt}`, capturedAt, tags, isProtected };
    });
  });

const few = fc.option(fc.nat(6), { nil: undefined });
const anyPolicy: fc.Arbitrary<RetentionPolicy> = fc.record({
  last: few,
  hourly: few,
  daily: few,
  weekly: few,
  monthly: few,
  yearly: few,
  withinMs: fc.option(fc.nat(30 * 24 * HOUR_MS), { nil: undefined }),
  tags: fc.option(fc.subarray(["release", "audit"]), { nil: undefined }),
});

describe("planRetention()", () => {
  test("keeps what the slow model keeps, each with a reason, in the order given", () => {
    fc.assert(
      fc.property(anyBackups, anyPolicy, (backups, policy) => {
        const plan = planRetention(backups, policy);
        expect(plan.map(({ backupId }) => backupId)).toEqual(backups.map((it) => it.backupId));
        const kept = new Set(plan.filter((it) => it.kept).map(({ backupId }) => backupId));
        expect(kept).toEqual(modelKept(backups, policy));
        expect(plan.every(({ reasons }) => reasons.length > 0)).toBe(true);
      }),
      { numRuns: 1000 },
    );
  });

  test("keeps the same when it is carried out and planned again", () => {
    fc.assert(
      fc.property(anyBackups, anyPolicy, (backups, policy) => {
        const kept = keptOf(backups, policy);
        const left = backups.filter(({ backupId }) => kept.includes(backupId));
        expect(keptOf(left, policy)).toEqual(kept);
      }),
    );
  });

  test("never removes the newest, the protected and the tagged", () => {
    const backups = [
      backupAt("2026-01-01T00:00:00Z", { isProtected: true }),
      backupAt("2026-01-02T00:00:00Z", { tags: ["release"] }),
      backupAt("2026-01-03T00:00:00Z", { tags: ["other"] }),
      backupAt("2026-01-04T00:00:00Z"),
    ];
    expect(planRetention(backups, { last: 0, tags: ["release"] })).toMatchObject([
      { kept: true, reasons: ["protected"] },
      { kept: true, reasons: ["tag release"] },
      { kept: false, reasons: ["no rule keeps it"] },
      { kept: true, reasons: ["newest"] },
    ]);
  });

  test("says which hour, day, week, month and year a backup is kept for", () => {
    const [verdict] = planRetention([backupAt("2027-01-03T23:59:59Z")], {
      last: 1,
      hourly: 1,
      daily: 1,
      weekly: 1,
      monthly: 1,
      yearly: 1,
      withinMs: 0,
    });
    // The Sunday belongs to the last week of the year before.
    expect(verdict?.reasons).toEqual([
      "newest",
      "last 1",
      "hourly 2027-01-03T23",
      "daily 2027-01-03",
      "weekly 2026-W53",
      "monthly 2027-01",
      "yearly 2027",
      "within",
    ]);
  });

  test("has nothing to say of nothing", () => {
    expect(planRetention([], { last: 3 })).toEqual([]);
    expect(isEmptyPolicy({})).toBe(true);
    expect(isEmptyPolicy({ tags: [], last: undefined })).toBe(true);
    expect(isEmptyPolicy({ last: 0 })).toBe(false);
    expect(isEmptyPolicy({ tags: ["a"] })).toBe(false);
  });
});

describe("simulateRetention()", () => {
  test("goes on at the pace of the last backups, a day a line", () => {
    const backups = ["00", "06", "12", "18"].map((hour) => backupAt(`2026-11-22T${hour}:00:00Z`));
    const days = simulateRetention(backups, { last: 2, daily: 3 }, 4);
    expect(days.map(({ day, taken, kept }) => [day, taken, kept])).toEqual([
      ["2026-11-23", 4, 3],
      ["2026-11-24", 4, 4],
      ["2026-11-25", 4, 4],
      ["2026-11-26", 4, 4],
    ]);
    expect(days.at(-1)?.oldest).toBe("2026-11-24T18:00:00.000Z");
    expect(days.map(({ removed }) => removed)).toEqual([5, 3, 4, 4]);
  });

  test("takes a single backup for a daily one", () => {
    const days = simulateRetention([backupAt("2026-11-22T12:00:00Z")], { last: 7 }, 10);
    expect(days.every(({ taken }) => taken === 1)).toBe(true);
    expect(days.map(({ kept }) => kept)).toEqual([2, 3, 4, 5, 6, 7, 7, 7, 7, 7]);
  });
});
