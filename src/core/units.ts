/** Amounts as people write them, and back. Parsed once, at the edge; inside, numbers with units. */
import { IbackupError } from "../errors.ts";

const BINARY_UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] as const;

/** Three significant digits at most: "512 B", "1.5 MiB", "20 GiB". */
export function formatBytes(bytes: number): string {
  let amount = bytes;
  let unit = 0;
  // 1023.5 KiB would be printed as "1024 KiB".
  while (amount >= 1023.5 && unit < BINARY_UNITS.length - 1) {
    amount /= 1024;
    unit++;
  }
  return `${threeDigits(amount)} ${BINARY_UNITS[unit]}`;
}

/** "85 ms", "3.2 s", "4 min 10 s", "2 h 5 min". */
export function formatDuration(durationMs: number): string {
  if (durationMs < 999.5) return `${Math.round(durationMs)} ms`;
  const seconds = Math.round(durationMs / 1000);
  if (seconds < 60) return `${threeDigits(durationMs / 1000)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "1 block", "3 blocks", "12,345 blocks". */
export function formatCount(count: number, noun: string): string {
  return `${count.toLocaleString("en-US")} ${noun}${count === 1 ? "" : "s"}`;
}

const MILLISECONDS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/**
 * @param text A number with a unit: "500ms", "10s", "1.5h", "7d".
 * @returns Milliseconds, above 0.
 * @throws IbackupError USAGE.
 */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(ms|s|m|min|h|d)$/.exec(text);
  const durationMs = Number(match?.[1]) * (MILLISECONDS[match?.[2] ?? ""] ?? Number.NaN);
  if (durationMs > 0 && Number.isSafeInteger(Math.round(durationMs))) return Math.round(durationMs);
  throw new IbackupError("USAGE", `Cannot understand the duration "${text}"`, {
    why: "it is not a number above 0 with one of the units ms, s, m, h, d",
    fix: "write for example 10s or 1.5h",
  });
}

/**
 * @param text A number with a unit, a second: "10MiB/s", "500 kB/s", "1.5GiB/s".
 * @returns Bytes a second, 1 or more.
 * @throws IbackupError USAGE.
 */
export function parseByteRate(text: string): number {
  const bytes = text.endsWith("/s") ? bytesOf(text.slice(0, -2)) : Number.NaN;
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  throw new IbackupError("USAGE", `Cannot understand the rate "${text}"`, {
    why: "it is not a number above 0 with one of the units B/s, kB/s, KiB/s, MB/s, MiB/s, GiB/s",
    fix: "write for example 10MiB/s",
  });
}

/**
 * @param text A number with a unit: "512MiB", "1.5 GiB", "10GB".
 * @returns Bytes, 1 or more.
 * @throws IbackupError USAGE.
 */
export function parseBytes(text: string): number {
  const bytes = bytesOf(text);
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  throw new IbackupError("USAGE", `Cannot understand the amount "${text}"`, {
    why: "it is not a number above 0 with one of the units B, kB, KiB, MB, MiB, GB, GiB, TB, TiB",
    fix: "write for example 1GiB",
  });
}

function bytesOf(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?([kMGT]?)(i?)B$/i.exec(text);
  const base = match?.[3] === "" ? 1000 : 1024;
  const power = " kmgt".indexOf((match?.[2] ?? "").toLowerCase() || " ");
  return Math.round(Number(match?.[1]) * base ** power);
}

/**
 * @param text "5%", "0.5%", "100%".
 * @returns Above 0, at most 1.
 * @throws IbackupError USAGE.
 */
export function parseShare(text: string): number {
  const percent = /^\d+(\.\d+)?%$/.test(text) ? Number(text.slice(0, -1)) : 0;
  if (percent > 0 && percent <= 100) return percent / 100;
  throw new IbackupError("USAGE", `Cannot use "${text}" as a share`, {
    why: "it is not a percentage above 0% and up to 100%",
    fix: "write for example 5%",
  });
}

/**
 * @param text As `parseDuration` takes it.
 * @param bounds `orZero`: "0" is fine too.
 * @returns Milliseconds, `maxMs` at most.
 * @throws IbackupError USAGE.
 */
export function parseShortDuration(
  text: string,
  { maxMs, orZero = false }: { maxMs: number; orZero?: boolean },
): number {
  if (orZero && /^0 ?(ms|s|m|min|h|d)?$/.test(text)) return 0;
  const durationMs = parseDuration(text);
  if (durationMs <= maxMs) return durationMs;
  throw new IbackupError("USAGE", `Cannot use the duration "${text}"`, {
    why: `it is longer than ${formatDuration(maxMs)}`,
    fix: "write for example 10s",
  });
}

/**
 * @param text RFC 3339, with a zone: "2026-11-22T17:01:02Z", "2026-11-22 18:01:02.5+01:00".
 * @throws IbackupError USAGE, also for a day that does not exist.
 */
export function parseInstant(text: string): Date {
  const match = /^(\d{4}-\d{2}-(\d{2}))[T ](\d{2}:\d{2}:\d{2}(?:\.\d+)?)(Z|[+-]\d{2}:\d{2})$/i.exec(
    text.trim(),
  );
  const [, date = "", day = "", time = "", zone = ""] = match ?? [];
  const instant = new Date(`${date}T${time}${zone.toUpperCase()}`);
  // Date.parse takes 31 February for 3 March.
  const dayExists = new Date(`${date}T00:00:00Z`).getUTCDate() === Number(day);
  if (match !== null && !Number.isNaN(instant.getTime()) && dayExists) return instant;
  throw new IbackupError("USAGE", `Cannot understand the time "${text}"`, {
    why: "it is not a date and time with a zone, as RFC 3339 writes it",
    fix: "write for example 2026-11-22T17:01:02Z; `ibackup list` shows times that way",
  });
}

/** "2026-11-22 17:01:02Z": sorts, has its zone, and `parseInstant` takes it back. */
export function formatInstant(instant: Date): string {
  return instant
    .toISOString()
    .replace("T", " ")
    .replace(/\.\d+Z$/, "Z");
}

function threeDigits(amount: number): string {
  return String(Number(amount.toPrecision(amount >= 1000 ? 4 : 3)));
}
