/** Counts bytes held, so that a test can see that they stay bounded. */
export class MemoryGauge {
  heldBytes = 0;
  heldBytesMax = 0;

  add(bytes: number): void {
    this.heldBytes += bytes;
    this.heldBytesMax = Math.max(this.heldBytesMax, this.heldBytes);
  }
}

/**
 * Up to `count` buffers of one size. Who wants one while all are lent waits: this is what bounds
 * the memory of a backup, and slows the reader down to the speed of the store.
 */
export class BufferPool {
  readonly #bufferBytes: number;
  readonly #gauge: MemoryGauge;
  readonly #idle: Uint8Array[] = [];
  readonly #waiting: ((buffer: Uint8Array) => void)[] = [];
  #notYetMade: number;

  constructor(options: { count: number; bufferBytes: number; gauge: MemoryGauge }) {
    this.#notYetMade = options.count;
    this.#bufferBytes = options.bufferBytes;
    this.#gauge = options.gauge;
  }

  async take(): Promise<Uint8Array> {
    const idle = this.#idle.pop();
    if (idle) return idle;
    if (this.#notYetMade === 0) {
      return await new Promise((resolve) => this.#waiting.push(resolve));
    }
    this.#notYetMade -= 1;
    this.#gauge.add(this.#bufferBytes);
    return new Uint8Array(this.#bufferBytes);
  }

  giveBack(buffer: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next) next(buffer);
    else this.#idle.push(buffer);
  }
}
