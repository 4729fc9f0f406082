import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { choreDueMs, type DiskState, diskAgenda, pauseAfter } from "../../src/daemon/agenda.ts";

const state = (change: Partial<DiskState>): DiskState => ({
  ...{ isBusy: false, isKnown: true, retryAtMs: undefined, decision: undefined },
  ...change,
});
const due = { isDue: true, why: "it is time" } as const;
const later = (atMs: number | null) => ({ isDue: false, atMs, why: "soon" }) as const;
const NEVER = Number.POSITIVE_INFINITY;

describe("diskAgenda()", () => {
  test.each<[string, Partial<DiskState>, ReturnType<typeof diskAgenda>]>([
    ["takes a backup that is due", { decision: due }, { action: "flush", atMs: 100 }],
    ["waits for one that is not", { decision: later(150) }, { action: undefined, atMs: 150 }],
    ["waits for changes", { decision: later(null) }, { action: undefined, atMs: NEVER }],
    ["reads the repository first", { isKnown: false }, { action: "look", atMs: 100 }],
    ["waits without a policy", {}, { action: undefined, atMs: NEVER }],
    [
      "does one thing at a time",
      { isBusy: true, decision: due },
      { action: undefined, atMs: NEVER },
    ],
    ["pauses after failures", { retryAtMs: 120, decision: due }, { action: undefined, atMs: 120 }],
    ["tries again then", { retryAtMs: 100, decision: due }, { action: "flush", atMs: 100 }],
  ])("%s", (_, change, expected) => {
    expect(diskAgenda(state(change), 100)).toEqual(expected);
  });
});

describe("pauseAfter()", () => {
  test("grows from 5 seconds to 15 minutes, and never beyond", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 5000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (n, it) => {
          const pause = pauseAfter(n, it);
          expect(pause).toBeGreaterThanOrEqual(5_000);
          expect(pause).toBeLessThanOrEqual(900_000);
          if (n > 7) expect(pause).toBeGreaterThanOrEqual(450_000);
        },
      ),
    );
    expect([1, 2, 3].map((failures) => pauseAfter(failures, 0))).toEqual([10e3, 20e3, 40e3]);
  });
});

describe("choreDueMs()", () => {
  test("is the next instant of the calendar, however long ago the last one was", () => {
    const minute = 60_000;
    expect(choreDueMs("*/5 * * * *", 0)).toBe(5 * minute);
    expect(choreDueMs("*/5 * * * *", 5 * minute)).toBe(10 * minute);
  });
});
