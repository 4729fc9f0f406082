import type { RetryClock } from "./retry_clock.ts";

/** Attempts of all calls together that may fail without one that succeeds in between. */
const RETRIES_MAX = 60;
/** What each success gives back. */
const RETRIES_PER_SUCCESS = 2;

/**
 * What the calls of one store have in common when the server is in trouble: a pause that it asked
 * for holds for all of them, and they share one budget of retries, so that a server that is down is
 * not kept down by many calls that each try again and again.
 */
export class Pace {
  readonly #clock: RetryClock;
  #notBeforeMs = Number.NEGATIVE_INFINITY;
  #retriesLeft = RETRIES_MAX;

  constructor(clock: RetryClock) {
    this.#clock = clock;
  }

  /** Resolves when an attempt may begin. */
  async turn(signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      const waitMs = this.#notBeforeMs - this.#clock.now();
      if (!(waitMs > 0)) return;
      await this.#clock.sleep(waitMs, signal);
    }
  }

  /** No attempt begins for so long. */
  slowDown(pauseMs: number): void {
    this.#notBeforeMs = Math.max(this.#notBeforeMs, this.#clock.now() + pauseMs);
  }

  succeeded(): void {
    this.#retriesLeft = Math.min(RETRIES_MAX, this.#retriesLeft + RETRIES_PER_SUCCESS);
  }

  /** Takes one retry out of the budget. @returns False when none is left. */
  takeRetry(): boolean {
    if (this.#retriesLeft < 1) return false;
    this.#retriesLeft -= 1;
    return true;
  }
}
