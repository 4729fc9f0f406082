import { setImmediate } from "node:timers/promises";

/** Some milliseconds of work on pages. */
const PAGES_PER_TURN = 256;

/** Lets a long piece of work on this thread make room for others now and then, as for a signal. */
export class Turns {
  #pages = 0;

  /** To be awaited after each page. */
  async next(): Promise<void> {
    this.#pages += 1;
    if (this.#pages % PAGES_PER_TURN === 0) await setImmediate();
  }
}
