import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decide, type TriggerState } from "../../src/trigger/decide.ts";
import { type Condition, type TriggerPolicy, triggerSchema } from "../../src/trigger/policy.ts";
import { seededRandom } from "../support/random.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const MONDAY = Date.parse("2026-11-23T00:00:00Z");

function policy(toml: object): TriggerPolicy {
  return triggerSchema.parse({ zone: "UTC", ...toml });
}

function state(parts: Partial<TriggerState>): TriggerState {
  const none = { changedBlocks: 0, blockBytes: 4096, isAsked: false, seed: 1 };
  return { ...none, lastBackupMs: MONDAY, ...parts };
}

/**
 * Methodology: figure 8 as it reads, a condition at a time and a minute at a time. Everything happens
 * on whole minutes, in UTC; cron expressions are of two forms, hours such as 22:00-06:00 every day.
 */
class SlowModel {
  readonly #policy: TriggerPolicy;
  readonly #state: TriggerState;

  constructor(policy: TriggerPolicy, state: TriggerState) {
    this.#policy = policy;
    this.#state = state;
  }

  isDue(nowMs: number): boolean {
    const { isAsked, lastBackupMs } = this.#state;
    if (isAsked) return true;
    if (this.#isQuiet(nowMs)) return false;
    if (lastBackupMs === null) return true;
    if (nowMs - lastBackupMs < (this.#policy["min-gap"] ?? 0)) return false;
    return this.#holds(this.#policy, lastBackupMs, nowMs);
  }

  /** Within two days. */
  nextDue(nowMs: number): number | undefined {
    for (let minute = 0; minute <= 2 * 24 * 60; minute++) {
      if (this.isDue(nowMs + minute * MINUTE_MS)) return nowMs + minute * MINUTE_MS;
    }
    return undefined;
  }

  #holds(condition: Condition, lastMs: number, nowMs: number): boolean {
    const { changedBlocks, blockBytes } = this.#state;
    const { blocks, bytes, every, cron, any, all } = condition;
    if (blocks !== undefined) return changedBlocks >= blocks;
    if (bytes !== undefined) return changedBlocks * blockBytes >= bytes;
    if (every !== undefined) return nowMs - lastMs >= every;
    if (cron !== undefined) return cameUp(cron, lastMs, nowMs);
    if (any !== undefined) return any.some((one) => this.#holds(one, lastMs, nowMs));
    return (all ?? []).every((one) => this.#holds(one, lastMs, nowMs));
  }

  #isQuiet(atMs: number): boolean {
    const minute = (atMs / MINUTE_MS) % 1440;
    return (this.#policy.quiet ?? []).some(({ from, to }) =>
      from < to ? minute >= from && minute < to : minute >= from || minute < to,
    );
  }
}

/** "M H * * *" or "M * * * *". */
function cameUp(cron: string, afterMs: number, untilMs: number): boolean {
  const [minute, hour] = cron.split(" ");
  for (let atMs = afterMs + MINUTE_MS; atMs <= untilMs; atMs += MINUTE_MS) {
    const date = new Date(atMs);
    const isHour = hour === "*" || date.getUTCHours() === Number(hour);
    if (isHour && date.getUTCMinutes() === Number(minute)) return true;
  }
  return false;
}

const minutes = (max: number) => fc.integer({ min: 1, max }).map((count) => `${count}m`);
const clock = fc.integer({ min: 0, max: 47 }).map((half) => {
  const hours = String(Math.floor(half / 2)).padStart(2, "0");
  return `${hours}:${half % 2 === 0 ? "00" : "30"}`;
});
const leaf = fc.oneof(
  fc.record({ blocks: fc.integer({ min: 1, max: 20 }) }),
  fc.record({ bytes: fc.integer({ min: 1, max: 80_000 }).map((bytes) => `${bytes}B`) }),
  fc.record({ every: minutes(1800) }),
  fc.record({
    cron: fc
      .tuple(fc.integer({ min: 0, max: 59 }), fc.constantFrom("*", "0", "3", "17"))
      .map(([minute, hour]) => `${minute} ${hour} * * *`),
  }),
);
const { condition } = fc.letrec<{ condition: object }>((tie) => ({
  condition: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.record({ any: fc.array(tie("condition"), { minLength: 1, maxLength: 3 }) }),
    fc.record({ all: fc.array(tie("condition"), { minLength: 1, maxLength: 3 }) }),
  ),
}));
const quiet = fc
  .tuple(clock, clock)
  .filter(([from, to]) => from !== to)
  .map(([from, to]) => `${from}-${to}`);
const policies = fc
  .tuple(
    condition,
    fc.record(
      { "min-gap": minutes(300), quiet: fc.array(quiet, { maxLength: 2 }) },
      { requiredKeys: [] },
    ),
  )
  .map(([one, others]) => triggerSchema.safeParse({ zone: "UTC", ...one, ...others }))
  // Two quiet hours may leave no time.
  .filter(({ success }) => success)
  .map(({ data }) => data as TriggerPolicy);

describe("decide()", () => {
  test("answers as figure 8 does, a minute at a time", () => {
    const { seed } = seededRandom("decide");
    const facts = fc.record({
      minutesAgo: fc.option(fc.integer({ min: 0, max: 3000 }), { nil: null }),
      changedBlocks: fc.integer({ min: 0, max: 25 }),
      isAsked: fc.integer({ min: 0, max: 9 }).map((one) => one === 0),
      nowMinute: fc.integer({ min: 0, max: 10_080 }),
    });
    const check = (given: TriggerPolicy, { minutesAgo, nowMinute, ...known }: Facts): void => {
      const nowMs = MONDAY + nowMinute * MINUTE_MS;
      const lastBackupMs = minutesAgo === null ? null : nowMs - minutesAgo * MINUTE_MS;
      const current = state({ ...known, lastBackupMs });
      const model = new SlowModel(given, current);
      const decision = decide(given, current, nowMs);
      expect(decision.isDue).toBe(model.isDue(nowMs));
      expect(decision.why).not.toBe("");
      if (decision.isDue) return;
      const next = decision.atMs ?? Number.POSITIVE_INFINITY;
      const isFar = next > nowMs + 2 * 24 * HOUR_MS;
      expect(isFar ? undefined : next).toBe(model.nextDue(nowMs));
    };
    fc.assert(fc.property(policies, facts, check), { seed, numRuns: 300 });
  });

  interface Facts {
    minutesAgo: number | null;
    changedBlocks: number;
    isAsked: boolean;
    nowMinute: number;
  }

  test("says why", () => {
    const given = policy({ any: [{ blocks: 1000 }, { all: [{ every: "1h" }, { blocks: 10 }] }] });
    const at = (minute: number, changedBlocks: number) =>
      decide(given, state({ changedBlocks }), MONDAY + minute * MINUTE_MS);
    expect(at(5, 1000)).toEqual({ isDue: true, why: "1,000 changed blocks of 1,000" });
    expect(at(60, 12)).toEqual({
      isDue: true,
      why: "1 h 0 min since the last backup and 12 changed blocks of 10",
    });
    expect(at(5, 12)).toEqual({
      isDue: false,
      atMs: MONDAY + HOUR_MS,
      why: "1 h 0 min since the last backup and 12 changed blocks of 10",
    });
    expect(at(500, 9)).toMatchObject({ isDue: false, atMs: null });
    expect(decide(given, state({ isAsked: true }), MONDAY)).toEqual({
      isDue: true,
      why: "asked for",
    });
  });

  test("makes up for what came up while the machine was off", () => {
    const given = policy({ cron: "0 3 * * *" });
    const decision = decide(given, state({}), MONDAY + 3 * 24 * HOUR_MS + 5 * HOUR_MS);
    expect(decision).toEqual({ isDue: true, why: "calendar 0 3 * * *" });
  });

  test("does not wait for a clock that was far ahead", () => {
    const given = policy({ every: "1h" });
    const ahead = state({ lastBackupMs: MONDAY + 400 * 24 * HOUR_MS });
    expect(decide(given, ahead, MONDAY).isDue).toBe(true);
    const slightly = state({ lastBackupMs: MONDAY + MINUTE_MS });
    expect(decide(given, slightly, MONDAY)).toMatchObject({ atMs: MONDAY + HOUR_MS });
  });

  test("tells the calendar and quiet hours by the clock of the zone, also when it is moved", () => {
    const zone = "Europe/Berlin";
    const at = (text: string) => Date.parse(text);
    const given = policy({ zone, cron: "30 4 * * *", quiet: ["sat,sun 00:00-05:00"] });
    // The clock goes forward at 01:00Z on Sunday 2026-03-29, and back on 2026-10-25.
    const spring = state({ lastBackupMs: at("2026-03-28T12:00:00Z") });
    expect(decide(given, spring, at("2026-03-29T00:30:00Z"))).toMatchObject({
      atMs: at("2026-03-29T03:00:00Z"),
    });
    const autumn = state({ lastBackupMs: at("2026-10-24T12:00:00Z") });
    expect(decide(given, autumn, at("2026-10-24T23:30:00Z"))).toMatchObject({
      atMs: at("2026-10-25T04:00:00Z"),
    });
    const weekday = state({ lastBackupMs: at("2026-11-23T12:00:00Z") });
    expect(decide(given, weekday, at("2026-11-23T13:00:00Z"))).toMatchObject({
      atMs: at("2026-11-24T03:30:00Z"),
    });
  });

  test("comes later by a jitter that stays the same for a disk and differs between disks", () => {
    const given = policy({ every: "1h", jitter: "10m" });
    const delays = Array.from({ length: 200 }, (_, seed) => {
      const decision = decide(given, state({ seed }), MONDAY);
      expect(decide(given, state({ seed }), MONDAY + MINUTE_MS)).toEqual(decision);
      return decision.isDue ? Number.NaN : (decision.atMs ?? 0) - MONDAY - HOUR_MS;
    });
    expect(delays.every((delay) => delay >= 0 && delay < 10 * MINUTE_MS)).toBe(true);
    const tenths = new Set(delays.map((delay) => Math.floor(delay / MINUTE_MS)));
    expect(tenths.size).toBe(10);
  });
});
