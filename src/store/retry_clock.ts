import { setTimeout as sleep } from "node:timers/promises";

/** Time and chance, so that tests can hold them still. */
export interface RetryClock {
  /** Milliseconds from any fixed point, never running backwards. */
  now(): number;
  sleep(pauseMs: number, signal?: AbortSignal): Promise<void>;
  /** From 0 up to, but not including, 1. */
  random(): number;
}

export const systemClock: RetryClock = {
  now: () => performance.now(),
  sleep: async (pauseMs, signal) => {
    await sleep(pauseMs, undefined, signal === undefined ? {} : { signal });
  },
  random: Math.random,
};
