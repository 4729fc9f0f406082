import type { Pace } from "./pace.ts";
import type { RetryClock } from "./retry_clock.ts";

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

export interface RetryOptions {
  policy: RetryPolicy;
  clock: RetryClock;
  /** Whether the same attempt could succeed a moment later. */
  isTransient(error: unknown): boolean;
  /** The pause that the server asks for, of everybody; undefined where it asks for none. */
  askedPauseMs?: ((error: unknown) => number | undefined) | undefined;
  /** Shared by all calls of a store. */
  pace?: Pace | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * Runs `work` until it succeeds, fails for good, or the policy is used up; then throws its last
 * error. The pause is all chance, up to a bound that doubles: many writers that were turned away
 * together do not come back together. It is never shorter than what the server asks for.
 */
export async function retry<T>(
  work: (attempt: number) => Promise<T>,
  options: RetryOptions,
): Promise<T> {
  const { clock, signal, pace } = options;
  const began = clock.now();
  for (let attempt = 1; ; attempt++) {
    signal?.throwIfAborted();
    await pace?.turn(signal);
    try {
      const result = await work(attempt);
      pace?.succeeded();
      return result;
    } catch (error) {
      const askedMs = options.askedPauseMs?.(error);
      const pauseMs = Math.max(askedMs ?? 0, pauseAfter(attempt, options));
      if (askedMs !== undefined) pace?.slowDown(pauseMs);
      const endsAtMs = clock.now() - began + pauseMs;
      if (!options.isTransient(error) || !mayRetry(options, { attempt, endsAtMs })) throw error;
      await clock.sleep(pauseMs, signal);
    }
  }
}

function mayRetry(
  { policy, signal, pace }: RetryOptions,
  { attempt, endsAtMs }: { attempt: number; endsAtMs: number },
): boolean {
  if (signal?.aborted || attempt >= policy.attempts || endsAtMs > policy.totalMs) return false;
  return pace?.takeRetry() ?? true;
}

function pauseAfter(attempt: number, { policy, clock }: RetryOptions): number {
  const longest = Math.min(policy.pauseMsMax, policy.firstPauseMs * 2 ** (attempt - 1));
  return longest * clock.random();
}
