import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatInstant,
  parseByteRate,
  parseDuration,
  parseInstant,
  parseShortDuration,
} from "../../src/core/units.ts";
import { IbackupError } from "../../src/errors.ts";

describe("parseByteRate()", () => {
  test.each([
    ["10MiB/s", 10 * 2 ** 20],
    ["10 MB/s", 10_000_000],
    ["1.5kB/s", 1500],
    ["1.5KiB/s", 1536],
    ["512B/s", 512],
    ["1GiB/s", 2 ** 30],
  ])("reads %s", (text, bytes) => expect(parseByteRate(text)).toBe(bytes));

  test.each(["10MiB", "0B/s", "-1MiB/s", "fast", "", "1 XB/s", "1MiB/m"])("refuses %j", (text) => {
    expect(() => parseByteRate(text)).toThrow(IbackupError);
  });
});

describe("formatBytes()", () => {
  test.each([
    [0, "0 B"],
    [512, "512 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [1_048_575, "1 MiB"],
    [20 * 2 ** 30, "20 GiB"],
    [2 ** 53 - 1, "8 PiB"],
  ])("prints %d as %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  test("is never off by more than one in two hundred", () => {
    const factors: Record<string, number> = { B: 0, KiB: 1, MiB: 2, GiB: 3, TiB: 4, PiB: 5 };
    fc.assert(
      fc.property(fc.maxSafeNat(), (bytes) => {
        const [amount, unit = ""] = formatBytes(bytes).split(" ");
        const back = Number(amount) * 1024 ** (factors[unit] ?? Number.NaN);
        expect(Math.abs(back - bytes)).toBeLessThanOrEqual(bytes / 200);
      }),
    );
  });
});

describe("formatDuration()", () => {
  test.each([
    [0, "0 ms"],
    [85.4, "85 ms"],
    [999.7, "1 s"],
    [3_210, "3.21 s"],
    [59_700, "1 min 0 s"],
    [250_000, "4 min 10 s"],
    [7_500_000, "2 h 5 min"],
  ])("prints %d as %s", (durationMs, text) => expect(formatDuration(durationMs)).toBe(text));
});

describe("formatCount()", () => {
  test("knows one from many", () => {
    expect(formatCount(1, "block")).toBe("1 block");
    expect(formatCount(0, "block")).toBe("0 blocks");
    expect(formatCount(12_345, "block")).toBe("12,345 blocks");
  });
});

describe("parseDuration()", () => {
  test.each([
    ["500ms", 500],
    ["10s", 10_000],
    ["1.5h", 5_400_000],
    ["2 min", 120_000],
    ["7d", 604_800_000],
  ])("reads %s", (text, durationMs) => expect(parseDuration(text)).toBe(durationMs));

  test.each(["", "10", "s", "-1s", "0s", "1 fortnight", "1e3s", "9999999999999999d"])(
    "refuses %j",
    (text) => expect(codeOf(() => parseDuration(text))).toBe("USAGE"),
  );
});

describe("parseShortDuration()", () => {
  test("takes what is within the bounds, and 0 where that means something", () => {
    expect(parseShortDuration("60s", { maxMs: 60_000 })).toBe(60_000);
    for (const text of ["0", "0s", "0 ms"]) {
      expect(parseShortDuration(text, { maxMs: 1, orZero: true })).toBe(0);
      expect(codeOf(() => parseShortDuration(text, { maxMs: 1 }))).toBe("USAGE");
    }
    expect(codeOf(() => parseShortDuration("61s", { maxMs: 60_000 }))).toBe("USAGE");
    expect(codeOf(() => parseShortDuration("00x", { maxMs: 1, orZero: true }))).toBe("USAGE");
  });
});

describe("parseInstant()", () => {
  test("takes both ways to write a zone", () => {
    const instant = new Date("2026-11-22T17:01:02.500Z");
    expect(parseInstant("2026-11-22T17:01:02.5Z")).toEqual(instant);
    expect(parseInstant("2026-11-22 18:01:02.5+01:00")).toEqual(instant);
  });

  test("takes back what formatInstant() prints", () => {
    const options = { min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true };
    fc.assert(
      fc.property(fc.date(options), (instant) => {
        const seconds = Math.floor(instant.getTime() / 1000) * 1000;
        expect(parseInstant(formatInstant(instant)).getTime()).toBe(seconds);
      }),
    );
  });

  test.each(["", "yesterday", "2026-11-22", "2026-11-22T17:01:02", "2026-02-31T00:00:00Z"])(
    "refuses %j",
    (text) => expect(codeOf(() => parseInstant(text))).toBe("USAGE"),
  );
});

function codeOf(run: () => unknown): string | undefined {
  try {
    run();
  } catch (error) {
    if (error instanceof IbackupError) return error.code;
    throw error;
  }
  return undefined;
}
