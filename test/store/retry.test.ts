import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Pace } from "../../src/store/pace.ts";
import { type RetryPolicy, retry } from "../../src/store/retry.ts";
import type { RetryClock } from "../../src/store/retry_clock.ts";

const POLICY: RetryPolicy = { attempts: 7, firstPauseMs: 200, pauseMsMax: 10_000, totalMs: 75_000 };

class Transient extends Error {
  override readonly name = "Transient";
}

/** A clock that only pauses and work move on. */
function manualClock(random: () => number = () => 0.5) {
  const pauses: number[] = [];
  const state = { nowMs: 0 };
  const clock: RetryClock = {
    now: () => state.nowMs,
    sleep: async (pauseMs) => {
      pauses.push(pauseMs);
      state.nowMs += pauseMs;
    },
    random,
  };
  return { clock, pauses, state };
}

function isTransient(error: unknown): boolean {
  return error instanceof Transient;
}

describe("retry()", () => {
  test("gives the result of the first attempt that succeeds", async () => {
    const { clock, pauses } = manualClock();
    const work = async (attempt: number) => {
      if (attempt < 3) throw new Transient();
      return attempt;
    };
    expect(await retry(work, { policy: POLICY, clock, isTransient })).toBe(3);
    expect(pauses).toEqual([100, 200]);
  });

  test("throws what is not transient at once", async () => {
    const { clock, pauses } = manualClock();
    const work = async () => {
      throw new Error("for good");
    };
    await expect(retry(work, { policy: POLICY, clock, isTransient })).rejects.toThrow("for good");
    expect(pauses).toEqual([]);
  });

  test("begins no attempt after the total time, however many are left", async () => {
    const { clock, state } = manualClock();
    let attempts = 0;
    const work = async () => {
      attempts += 1;
      state.nowMs += 30_000;
      throw new Transient(`attempt ${attempts}`);
    };
    await expect(retry(work, { policy: POLICY, clock, isTransient })).rejects.toThrow("attempt 3");
  });

  test("stops when the caller gives up during a pause", async () => {
    const controller = new AbortController();
    const { clock } = manualClock();
    const stopping: RetryClock = {
      ...clock,
      sleep: async () => controller.abort(new Error("enough")),
    };
    let attempts = 0;
    const work = async () => {
      attempts += 1;
      throw new Transient();
    };
    const { signal } = controller;
    const options = { policy: POLICY, clock: stopping, isTransient, signal };
    await expect(retry(work, options)).rejects.toThrow("enough");
    expect(attempts).toBe(1);
  });

  test("pauses by chance, up to a time that doubles, within every bound", async () => {
    const policy = fc.record({
      attempts: fc.integer({ min: 1, max: 12 }),
      firstPauseMs: fc.integer({ min: 1, max: 1000 }),
      pauseMsMax: fc.integer({ min: 1, max: 20_000 }),
      totalMs: fc.integer({ min: 0, max: 100_000 }),
    });
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    await fc.assert(
      fc.asyncProperty(policy, chance, async (bounds, random) => {
        const { clock, pauses } = manualClock(() => random);
        const work = async () => {
          throw new Transient();
        };
        const options = { policy: bounds, clock, isTransient };
        await expect(retry(work, options)).rejects.toBeInstanceOf(Transient);
        expect(pauses.length).toBeLessThan(bounds.attempts);
        expect(pauses.reduce((sum, pause) => sum + pause, 0)).toBeLessThanOrEqual(bounds.totalMs);
        for (const [index, pauseMs] of pauses.entries()) {
          const longest = Math.min(bounds.pauseMsMax, bounds.firstPauseMs * 2 ** index);
          expect(pauseMs).toBe(random * longest);
        }
      }),
    );
  });

  test("waits as long as the server asks, and so do the other calls of the store", async () => {
    const { clock, pauses, state } = manualClock();
    const pace = new Pace(clock);
    const askedPauseMs = () => 5000;
    const options = { policy: POLICY, clock, isTransient, pace, askedPauseMs };
    const failOnce = async (attempt: number) => {
      if (attempt === 1) throw new Transient();
      return state.nowMs;
    };
    const failing = retry(failOnce, options);
    await Promise.resolve();
    expect(await retry(async () => state.nowMs, options)).toBeGreaterThanOrEqual(5000);
    expect(await failing).toBeGreaterThanOrEqual(5000);
    expect(pauses).toContain(5000);
  });

  test("stops when the calls of a store have retried too often in vain, all together", async () => {
    const { clock } = manualClock();
    const pace = new Pace(clock);
    let attempts = 0;
    const fail = async () => {
      attempts += 1;
      throw new Transient();
    };
    const options = { policy: POLICY, clock, isTransient, pace };
    for (let call = 0; call < 20; call++) await expect(retry(fail, options)).rejects.toThrow();
    expect(attempts).toBe(20 + 60);
    await retry(async () => undefined, options);
    attempts = 0;
    await expect(retry(fail, options)).rejects.toThrow();
    expect(attempts).toBe(1 + 2);
  });
});
