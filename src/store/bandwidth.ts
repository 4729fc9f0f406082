import { type RetryClock, systemClock } from "./retry_clock.ts";

/** What was not used lately may be used at once: timers are late by a moment each time. */
const BURST_MS = 50;
const PIECE_BYTES = 64 * 1024;

/** Lets so many bytes a second pass, for all uploads of a store together; first come, first served. */
export class Bandwidth {
  readonly bytesPerSecond: number;
  readonly #clock: RetryClock;
  /** When all that was let through so far has passed. */
  #freeAtMs = Number.NEGATIVE_INFINITY;

  constructor(bytesPerSecond: number, clock: RetryClock = systemClock) {
    this.bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
  }

  /** The same bytes, in pieces, each when it may go. */
  async *pass(bytes: Uint8Array, signal?: AbortSignal): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      await this.#take(piece.length, signal);
      yield piece;
    }
  }

  async #take(byteCount: number, signal: AbortSignal | undefined): Promise<void> {
    const now = this.#clock.now();
    const beginsAtMs = Math.max(now - BURST_MS, this.#freeAtMs);
    this.#freeAtMs = beginsAtMs + (byteCount * 1000) / this.bytesPerSecond;
    if (beginsAtMs > now) await this.#clock.sleep(beginsAtMs - now, signal);
  }
}
