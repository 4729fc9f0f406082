/**
 * Keeps those who write to disks, and who keep the thread busy, apart from freezes of the same process.
 *
 * A write to a frozen file system waits for the thaw. Where the thread that waits is the one that has to
 * thaw, all stands still until the helper's limit passes.
 */
import { setTimeout as sleep } from "node:timers/promises";

/** One that writes for longer is not waited for: the limit of the freeze is there for the rest. */
const WAIT_MS_MAX = 5_000;

export class FreezeGate {
  #frozen = 0;
  #writing = 0;
  #changed = Promise.withResolvers<void>();

  /** Works when nothing is frozen, and nothing is frozen meanwhile. Never within another `write`. */
  async write<T>(work: () => T | Promise<T>): Promise<T> {
    while (this.#frozen > 0) await this.#changed.promise;
    this.#writing++;
    try {
      return await work();
    } finally {
      this.#writing--;
      this.#tell();
    }
  }

  /** Freezes, and thaws, when those who write have ended. Whoever comes after them waits. */
  async freeze<T>(work: () => Promise<T>): Promise<T> {
    this.#frozen++;
    try {
      await this.#writersEnd();
      return await work();
    } finally {
      this.#frozen--;
      this.#tell();
    }
  }

  async #writersEnd(): Promise<void> {
    if (this.#writing === 0) return;
    const timer = new AbortController();
    const late = sleep(WAIT_MS_MAX, "late", { signal: timer.signal }).catch(() => "late");
    while (this.#writing > 0) {
      if ((await Promise.race([this.#changed.promise, late])) === "late") break;
    }
    timer.abort();
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers();
    resolve();
  }
}
