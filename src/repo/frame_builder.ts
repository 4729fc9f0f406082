import type { BlockExtent } from "../core/extent.ts";
import { FRAME_BLOCKS_MAX, FRAME_BYTES_MAX, WINDOW_BLOCKS } from "../core/limits.ts";
import { windowOf } from "../core/records.ts";
import { assert } from "../errors.ts";
import { release } from "../runtime/memory.ts";

/** A frame ready to be compressed. */
export interface RawFrame {
  /** Ascending, none touching. */
  extents: BlockExtent[];
  /** Their blocks, one after another: the beginning of `buffer`. */
  raw: Uint8Array;
  /** To be given back to the pool. */
  buffer: Uint8Array;
}

/** Blocks per frame, for blocks of this size. */
export function blocksPerFrame(blockBytes: number): number {
  return Math.max(1, Math.min(FRAME_BLOCKS_MAX, Math.floor(FRAME_BYTES_MAX / blockBytes)));
}

/** Gathers blocks, scattered ones too, into one frame of one window. No block is in it twice. */
export class FrameBuilder {
  readonly #blockBytes: number;
  readonly #buffer: Uint8Array;
  readonly #runs: BlockExtent[] = [];
  #blocks = 0;

  /** @param buffer As long as a frame of `blocksPerFrame` blocks. */
  constructor(buffer: Uint8Array, blockBytes: number) {
    this.#buffer = buffer;
    this.#blockBytes = blockBytes;
  }

  get isFull(): boolean {
    return (this.#blocks + 1) * this.#blockBytes > this.#buffer.length;
  }

  intersects({ firstBlock, blockCount }: BlockExtent): boolean {
    return this.#runs.some(
      (run) =>
        run.firstBlock < firstBlock + blockCount && firstBlock < run.firstBlock + run.blockCount,
    );
  }

  /**
   * Copies the first blocks of a run, as many as fit.
   *
   * @param run Does not intersect what is in the frame.
   * @returns How many were taken; 0 when the frame has to be closed first.
   */
  take(run: BlockExtent, bytes: Uint8Array): number {
    const [first] = this.#runs;
    if (first !== undefined && windowOf(first.firstBlock) !== windowOf(run.firstBlock)) return 0;
    const room = this.#buffer.length / this.#blockBytes - this.#blocks;
    const toWindowEnd = WINDOW_BLOCKS - (run.firstBlock % WINDOW_BLOCKS);
    const taken = Math.min(run.blockCount, room, toWindowEnd);
    if (taken === 0) return 0;
    this.#buffer.set(bytes.subarray(0, taken * this.#blockBytes), this.#blocks * this.#blockBytes);
    this.#blocks += taken;
    const last = this.#runs.at(-1);
    if (last && last.firstBlock + last.blockCount === run.firstBlock) last.blockCount += taken;
    else this.#runs.push({ firstBlock: run.firstBlock, blockCount: taken });
    return taken;
  }

  close(): RawFrame {
    assert(this.#blocks > 0, "a frame has a block");
    const raw = this.#buffer.subarray(0, this.#blocks * this.#blockBytes);
    const inOrder = this.#runs.every(
      (run, index) => index === 0 || (this.#runs[index - 1]?.firstBlock ?? 0) < run.firstBlock,
    );
    if (!inOrder) this.#sort(raw);
    return { extents: mergeTouching(this.#runs), raw, buffer: this.#buffer };
  }

  /** Puts the runs in ascending order, and their bytes with them. */
  #sort(raw: Uint8Array): void {
    const unsorted = raw.slice();
    let from = 0;
    const placed = this.#runs.map((run) => {
      const start = from;
      from += run.blockCount * this.#blockBytes;
      return { run, bytes: unsorted.subarray(start, from) };
    });
    placed.sort((left, right) => left.run.firstBlock - right.run.firstBlock);
    let to = 0;
    for (const [index, { run, bytes }] of placed.entries()) {
      this.#runs[index] = run;
      raw.set(bytes, to);
      to += bytes.length;
    }
    release(unsorted);
  }
}

function mergeTouching(runs: readonly BlockExtent[]): BlockExtent[] {
  const merged: BlockExtent[] = [];
  for (const { firstBlock, blockCount } of runs) {
    const last = merged.at(-1);
    if (last && last.firstBlock + last.blockCount === firstBlock) last.blockCount += blockCount;
    else merged.push({ firstBlock, blockCount });
  }
  return merged;
}
