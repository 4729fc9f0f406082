/** The time by which the daemon works. Tests bring their own, in which a week takes seconds. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Clock } from "../job/context.ts";

export interface DaemonClock extends Clock {
  /**
   * Resolves at that instant, in milliseconds since 1970, or earlier; at once when the signal aborts.
   */
  sleepUntil(atMs: number, signal: AbortSignal): Promise<void>;
}

/** The clock of the machine may be set meanwhile, and it may have slept. */
const SLEEP_MS_MAX = 30_000;

export const systemClock: DaemonClock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
  sleepUntil: async (atMs, signal) => {
    const pauseMs = Math.min(Math.max(0, atMs - Date.now()), SLEEP_MS_MAX);
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  },
};
