/** Cron expressions: the only place that knows croner. */
import { Cron } from "croner";

/**
 * @param expression Five fields: minute, hour, day of the month, month, day of the week.
 * @param zone "Europe/Berlin".
 * @returns The first instant after `afterMs`, in milliseconds since 1970; undefined when there is none.
 * @throws What croner throws when it does not understand one of them.
 */
export function nextOnCalendar(
  expression: string,
  zone: string,
  afterMs: number,
): number | undefined {
  const cron = new Cron(expression, { timezone: zone, mode: "5-part" });
  return cron.nextRun(new Date(afterMs))?.getTime();
}
