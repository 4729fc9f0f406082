import type { DigestFile } from "./digest_file.ts";

/** Reads in flight: pages that lie apart on the disk, each of which is waited for otherwise. */
const AHEAD = 32;

/** Asks for pages before their turn, so that the system has them in memory when it comes. */
export class ReadAhead {
  readonly #file: DigestFile;
  readonly #indexes: Iterator<number, void>;
  readonly #asked: Promise<void>[] = [];

  /** @param indexes Of the pages that will be read, in that order. */
  constructor(file: DigestFile, indexes: Iterator<number, void>) {
    this.#file = file;
    this.#indexes = indexes;
    for (let i = 0; i < AHEAD; i++) this.#ask();
  }

  /** To be awaited before each page: until it is there. */
  async next(): Promise<void> {
    this.#ask();
    await this.#asked.shift();
  }

  /** Until nothing is read any more: only then may the file be closed. */
  async end(): Promise<void> {
    await Promise.all(this.#asked);
  }

  #ask(): void {
    const { done, value } = this.#indexes.next();
    if (!done) this.#asked.push(this.#file.expect(value));
  }
}
