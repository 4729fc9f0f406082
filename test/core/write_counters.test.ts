import { describe, expect, test } from "vitest";
import {
  countedNothing,
  isStill,
  parseDiskStat,
  type WriteCounters,
} from "../../src/core/write_counters.ts";

const STAT = "  117  0  4696  30  42  3  1640  75  2  64  108  9  0  73728  3  5  1\n";
const COUNTERS = { sectorsWritten: 1640, sectorsDiscarded: 73_728 };

describe("parseDiskStat()", () => {
  test("finds what was written and discarded, what has ended, and what is in flight", () => {
    expect(parseDiskStat(STAT)).toEqual({
      counters: COUNTERS,
      ended: 117 + 42 + 9 + 5,
      inFlight: 2,
    });
  });

  // Linux 4.18 began to count discards; a truncated line must not pass for a quiet disk.
  test.each(["", "1 2 3", "1 2 3 4 5 6 7 8 9 10 11", STAT.replace("1640", "many")])(
    "does not make sense of %j",
    (text) => expect(parseDiskStat(text)).toBeUndefined(),
  );
});

describe("countedNothing()", () => {
  test("is true of equal counters, and false when any of them moved", () => {
    expect(countedNothing(COUNTERS, { ...COUNTERS })).toBe(true);
    for (const name of Object.keys(COUNTERS) as (keyof typeof COUNTERS)[]) {
      expect(countedNothing(COUNTERS, { ...COUNTERS, [name]: COUNTERS[name] + 1 })).toBe(false);
    }
  });

  test("is false when a loop disk's file was changed, though nothing was counted", () => {
    const before: WriteCounters = { ...COUNTERS, backingFile: "7 13 4096 100 100" };
    expect(countedNothing(before, { ...before })).toBe(true);
    expect(countedNothing(before, { ...COUNTERS, backingFile: "7 13 4096 200 200" })).toBe(false);
    expect(countedNothing(before, COUNTERS)).toBe(false);
  });
});

describe("isStill()", () => {
  const still = { counters: COUNTERS, ended: 9, inFlight: 0 };

  test("is true only when nothing was in flight at both ends, and nothing ended between", () => {
    expect(isStill(still, { ...still })).toBe(true);
    expect(isStill({ ...still, inFlight: 1 }, still)).toBe(false);
    expect(isStill(still, { ...still, inFlight: 1 })).toBe(false);
    expect(isStill(still, { ...still, ended: 10 })).toBe(false);
  });
});
