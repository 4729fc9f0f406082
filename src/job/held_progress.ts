/**
 * Progress that can be held back. While file systems are frozen nothing may be written: standard
 * error may be a file on one of them, and whoever writes there stands still.
 */
import type { Progress } from "./progress.ts";

export class HeldProgress implements Progress {
  readonly #inner: Progress;
  #messages: string[] | undefined;

  constructor(inner: Progress) {
    this.#inner = inner;
  }

  /** From now on nothing is shown. */
  hold(): void {
    if (this.#messages !== undefined) return;
    this.#inner.end();
    this.#messages = [];
  }

  /** Shows what was said meanwhile. */
  release(): void {
    const messages = this.#messages ?? [];
    this.#messages = undefined;
    for (const text of messages) this.#inner.message(text);
  }

  begin(label: string, totalBytes: number): void {
    if (this.#messages === undefined) this.#inner.begin(label, totalBytes);
  }

  advance(bytes: number): void {
    if (this.#messages === undefined) this.#inner.advance(bytes);
  }

  message(text: string): void {
    if (this.#messages === undefined) this.#inner.message(text);
    else this.#messages.push(text);
  }

  end(): void {
    if (this.#messages === undefined) this.#inner.end();
  }
}
