/** Hours in which no backup is taken that nobody asked for. */

export interface QuietHours {
  /** As it was written. */
  text: string;
  /** Days that they begin on; 0 is Sunday. */
  days: readonly number[];
  /** Minutes since midnight, 0 to 1439. */
  from: number;
  /** 1 to 1440; not later than `from`: on the next day. */
  to: number;
}

const DAY_NAMES = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DAY_MINUTES = 1440;
const MINUTE_MS = 60_000;

/** @param text "22:00-06:00", "mon-fri 08:00-18:00", "sat,sun 00:00-24:00". */
export function parseQuietHours(text: string): QuietHours | undefined {
  const match = /^(?:([a-z,-]+) +)?(\d{2}):(\d{2})-(\d{2}):(\d{2})$/.exec(
    text.trim().toLowerCase(),
  );
  if (match === null) return undefined;
  const days = match[1] === undefined ? [0, 1, 2, 3, 4, 5, 6] : daysOf(match[1]);
  const from = minuteOf(match[2], match[3]);
  const to = minuteOf(match[4], match[5]);
  if (days === undefined || !(from < DAY_MINUTES) || !(to >= 0) || from === to) return undefined;
  return { text: text.trim(), days, from, to: to === 0 ? DAY_MINUTES : to };
}

function minuteOf(hours: string | undefined, minutes: string | undefined): number {
  const minute = Number(hours) * 60 + Number(minutes);
  return Number(minutes) < 60 && minute <= DAY_MINUTES ? minute : Number.NaN;
}

function daysOf(text: string): number[] | undefined {
  const days = text.split(",").flatMap((part) => {
    const [first = -1, last = first] = part.split("-").map((name) => DAY_NAMES.indexOf(name));
    if (first < 0 || last < 0 || part.split("-").length > 2) return [Number.NaN];
    const count = ((last - first + 7) % 7) + 1;
    return Array.from({ length: count }, (_, index) => (first + index) % 7);
  });
  return days.some(Number.isNaN) ? undefined : days;
}

/** True when they leave no minute of the week. */
export function isAlwaysQuiet(hours: readonly QuietHours[]): boolean {
  for (let minute = 0; minute < 7 * DAY_MINUTES; minute++) {
    const time = { day: Math.floor(minute / DAY_MINUTES), minute: minute % DAY_MINUTES };
    if (quietAt(hours, time) === undefined) return false;
  }
  return true;
}

/**
 * @param atMs Milliseconds since 1970, as all instants here.
 * @param zone "Europe/Berlin": whose clock the hours are told by.
 * @returns When the hours that are quiet then end; undefined when it is not quiet. Where the clock
 *   jumps over that end, it may be later by as much as the clock jumps.
 */
export function quietUntil(
  hours: readonly QuietHours[],
  zone: string,
  atMs: number,
): { untilMs: number; text: string } | undefined {
  let untilMs = atMs;
  let text: string | undefined;
  for (;;) {
    const quiet = quietAt(hours, wallTime(zone, untilMs));
    if (quiet === undefined) return text === undefined ? undefined : { untilMs, text };
    text ??= quiet.text;
    untilMs = endOf(hours, zone, { fromMs: untilMs, ...quiet });
  }
}

/** The clock may be moved on the way: then the end is where it shows what it should. */
function endOf(
  hours: readonly QuietHours[],
  zone: string,
  { fromMs, leftMinutes, to }: { fromMs: number; leftMinutes: number; to: number },
): number {
  const straight = Math.floor(fromMs / MINUTE_MS + leftMinutes) * MINUTE_MS;
  const halfDay = DAY_MINUTES / 2;
  const ahead = wallTime(zone, straight).minute - (to % DAY_MINUTES);
  const shift = ((ahead + DAY_MINUTES + halfDay) % DAY_MINUTES) - halfDay;
  const moved = straight - shift * MINUTE_MS;
  return moved > fromMs && quietAt(hours, wallTime(zone, moved)) === undefined ? moved : straight;
}

interface WallTime {
  /** 0 is Sunday. */
  day: number;
  /** Since midnight. */
  minute: number;
}

/** How long the quiet goes on, and what the clock shows at its end. */
function quietAt(
  hours: readonly QuietHours[],
  { day, minute }: WallTime,
): { leftMinutes: number; to: number; text: string } | undefined {
  const dayBefore = (day + 6) % 7;
  for (const { days, from, to, text } of hours) {
    const isOverMidnight = to <= from;
    if (days.includes(day) && minute >= from && (isOverMidnight || minute < to)) {
      return { leftMinutes: to - minute + (isOverMidnight ? DAY_MINUTES : 0), to, text };
    }
    if (isOverMidnight && days.includes(dayBefore) && minute < to) {
      return { leftMinutes: to - minute, to, text };
    }
  }
  return undefined;
}

const FORMATS = new Map<string, Intl.DateTimeFormat>();

function wallTime(zone: string, atMs: number): WallTime {
  const format = FORMATS.get(zone) ?? formatFor(zone);
  const parts = new Map(format.formatToParts(atMs).map(({ type, value }) => [type, value]));
  return {
    day: DAY_NAMES.indexOf((parts.get("weekday") ?? "").toLowerCase()),
    minute: Number(parts.get("hour")) * 60 + Number(parts.get("minute")),
  };
}

function formatFor(timeZone: string): Intl.DateTimeFormat {
  const format = new Intl.DateTimeFormat("en-US", {
    ...{ timeZone, weekday: "short", hour: "2-digit", minute: "2-digit" },
    hourCycle: "h23",
  });
  FORMATS.set(timeZone, format);
  return format;
}
