import { setTimeout as sleep } from "node:timers/promises";

/** How often and how long to try. All four bound every call; there is no retry above or below. */
export interface RetryPolicy {
  /** Attempts in all, the first included. */
  attempts: number;
  /** Pause before the second attempt at most; it doubles with each one. */
  firstPauseMs: number;
  pauseMsMax: number;
  /** No attempt begins later than this after the first began. */
  totalMs: number;
}

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

export interface RetryOptions {
  policy: RetryPolicy;
  clock: RetryClock;
  /** Whether the same attempt could succeed a moment later. */
  isTransient(error: unknown): boolean;
  signal?: AbortSignal | undefined;
}

/**
 * Runs `work` until it succeeds, fails for good, or the policy is used up; then throws its last
 * error. The pause is exponential, half of it by chance: many writers that were turned away
 * together do not come back together.
 */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { policy, clock, signal } = options;
  const began = clock.now();
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    try {
      return await work(attempt);
    } catch (error) {
      const pauseMs = pauseAfter(attempt, options);
      const late = clock.now() - began + pauseMs > policy.totalMs;
      const last = attempt >= policy.attempts || late;
      if (last || signal?.aborted || !options.isTransient(error)) throw error;
      await clock.sleep(pauseMs, signal);
    }
  }
}

function pauseAfter(attempt: number, { policy, clock }: RetryOptions): number {
  const longest = Math.min(policy.pauseMsMax, policy.firstPauseMs * 2 ** (attempt - 1));
  return (longest / 2) * (1 + clock.random());
}
