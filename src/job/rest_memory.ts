/**
 * Memory between the disk and the writer: what is read while file systems are frozen waits here
 * until they are thawed. Runs leave in the order in which they came.
 */
import type { BlockRun } from "../disk/disk_reader.ts";
import { assert } from "../errors.ts";

const SLAB_BYTES = 1 << 20;

interface Slab {
  bytes: Uint8Array;
  usedBytes: number;
}

interface KeptRun extends BlockRun {
  slab: Slab;
}

export interface RestMemoryOptions {
  capacityBytes: number;
  blockBytes: number;
  /** Takes a run that leaves; its bytes are lent until the promise resolves. */
  store: (run: BlockRun) => Promise<void>;
}

export class RestMemory {
  readonly #options: RestMemoryOptions;
  readonly #slabBytes: number;
  readonly #idle: Slab[] = [];
  #notYetMade: number;
  #filling: Slab | undefined;
  readonly #kept: KeptRun[] = [];
  #isHeld = true;
  #leaving: Promise<void> = Promise.resolve();
  #isLeaving = false;
  /** Resolved when a slab becomes free. */
  #left = Promise.withResolvers<void>();
  #failure: { error: unknown } | undefined;

  constructor(options: RestMemoryOptions) {
    this.#options = options;
    this.#slabBytes = Math.max(SLAB_BYTES, options.blockBytes);
    this.#notYetMade = Math.floor(options.capacityBytes / this.#slabBytes);
  }

  /** That much can still be kept. */
  get freeBytes(): number {
    const begun = this.#filling ? this.#slabBytes - this.#filling.usedBytes : 0;
    return begun + (this.#idle.length + this.#notYetMade) * this.#slabBytes;
  }

  /**
   * Copies the first blocks of a run, as many as there is room for.
   * @returns How many that were.
   */
  keep(run: BlockRun): number {
    const { blockBytes } = this.#options;
    let kept = 0;
    while (kept < run.blockCount) {
      const slab = this.#slabWithRoom();
      if (slab === undefined) break;
      const room = Math.floor((this.#slabBytes - slab.usedBytes) / blockBytes);
      const blockCount = Math.min(run.blockCount - kept, room);
      const from = slab.usedBytes;
      slab.usedBytes += blockCount * blockBytes;
      const bytes = slab.bytes.subarray(from, slab.usedBytes);
      bytes.set(run.bytes.subarray(kept * blockBytes, (kept + blockCount) * blockBytes));
      this.#kept.push({ firstBlock: run.firstBlock + kept, blockCount, bytes, slab });
      kept += blockCount;
    }
    if (kept > 0 && !this.#isHeld) this.release();
    return kept;
  }

  /** From now on runs stay, but for one that is on its way. */
  hold(): void {
    this.#isHeld = true;
  }

  /** From now on runs leave in the background. */
  release(): void {
    this.#isHeld = false;
    if (this.#isLeaving) return;
    this.#isLeaving = true;
    this.#leaving = this.#leave().catch((error: unknown) => {
      this.#failure ??= { error };
    });
  }

  /** Lets everything leave. @throws What storing threw. */
  async emptied(): Promise<void> {
    this.release();
    await this.#leaving;
    this.throwIfFailed();
    assert(this.#kept.length === 0, "everything has left");
  }

  /** Waits until so much can be kept, or all has left that was there. @throws As `emptied`. */
  async roomFor(bytes: number): Promise<void> {
    this.release();
    while (this.freeBytes < bytes && this.#isLeaving) {
      this.#left = Promise.withResolvers();
      await Promise.race([this.#left.promise, this.#leaving]);
    }
    this.throwIfFailed();
  }

  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
  }

  async #leave(): Promise<void> {
    try {
      while (!this.#isHeld && this.#failure === undefined) {
        const run = this.#kept.shift();
        if (run === undefined) return;
        await this.#options.store(run);
        const { slab } = run;
        if (slab !== this.#kept[0]?.slab) this.#giveBack(slab);
      }
    } finally {
      this.#isLeaving = false;
    }
  }

  /** All of a slab's runs have left. */
  #giveBack(slab: Slab): void {
    slab.usedBytes = 0;
    this.#left.resolve();
    if (slab !== this.#filling) this.#idle.push(slab);
  }

  #slabWithRoom(): Slab | undefined {
    const { blockBytes } = this.#options;
    if (this.#filling && this.#filling.usedBytes + blockBytes <= this.#slabBytes) {
      return this.#filling;
    }
    this.#filling = this.#idle.pop() ?? this.#newSlab();
    return this.#filling;
  }

  #newSlab(): Slab | undefined {
    if (this.#notYetMade === 0) return undefined;
    this.#notYetMade -= 1;
    return { bytes: new Uint8Array(this.#slabBytes), usedBytes: 0 };
  }
}
