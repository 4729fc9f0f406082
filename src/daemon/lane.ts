/** Work that is done one after the other. */
export class Lane {
  #last: Promise<void> = Promise.resolve();
  readonly #front: (() => Promise<void>)[] = [];
  readonly #back: (() => Promise<void>)[] = [];
  #isBusy = false;

  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** @param work Never rejects. `isUrgent`: it goes before what is not. */
  add(work: () => Promise<void>, isUrgent = false): void {
    (isUrgent ? this.#front : this.#back).push(work);
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#last = this.#run();
  }

  /** Begins nothing any more. */
  stop(): void {
    this.#front.length = 0;
    this.#back.length = 0;
  }

  /** Resolves when what was begun has ended. */
  async ended(): Promise<void> {
    await this.#last;
  }

  async #run(): Promise<void> {
    try {
      for (;;) {
        const work = this.#front.shift() ?? this.#back.shift();
        if (work === undefined) return;
        await work();
      }
    } finally {
      this.#isBusy = false;
    }
  }
}
