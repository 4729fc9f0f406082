import type { BlockExtent } from "./extent.ts";

/**
 * Blocks of zeroes that were added but have no record yet: ascending, disjoint, none touching, so
 * that a sparse disk ends up as one extent. Adding in ascending order costs nothing to speak of.
 */
export class PendingZeroes {
  #extents: BlockExtent[] = [];

  get extentCount(): number {
    return this.#extents.length;
  }

  add({ firstBlock, blockCount }: BlockExtent): void {
    const from = this.#firstEndingAtOrAfter(firstBlock);
    let first = firstBlock;
    let end = firstBlock + blockCount;
    let to = from;
    for (; to < this.#extents.length; to++) {
      const next = this.#extents[to];
      if (next === undefined || next.firstBlock > end) break;
      first = Math.min(first, next.firstBlock);
      end = Math.max(end, next.firstBlock + next.blockCount);
    }
    this.#extents.splice(from, to - from, { firstBlock: first, blockCount: end - first });
  }

  intersects({ firstBlock, blockCount }: BlockExtent): boolean {
    const next = this.#extents[this.#firstEndingAtOrAfter(firstBlock + 1)];
    return next !== undefined && next.firstBlock < firstBlock + blockCount;
  }

  /** Gives all of them away. */
  take(): BlockExtent[] {
    const extents = this.#extents;
    this.#extents = [];
    return extents;
  }

  /** Index of the first extent whose end is at or after `block`; their number when there is none. */
  #firstEndingAtOrAfter(block: number): number {
    let low = 0;
    let high = this.#extents.length;
    const last = this.#extents.at(-1);
    // Mostly blocks come in ascending order.
    if (last !== undefined && last.firstBlock + last.blockCount < block) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const extent = this.#extents[middle];
      if (extent !== undefined && extent.firstBlock + extent.blockCount < block) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
