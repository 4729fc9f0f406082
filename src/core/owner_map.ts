import { assert } from "../errors.ts";
import { WINDOW_BLOCKS } from "./limits.ts";
import { at } from "./records.ts";

/** A run of blocks with one owner. */
export interface OwnedRun {
  firstBlock: number;
  blockCount: number;
  owner: number;
}

/**
 * Who each block of a window belongs to. Later fills override earlier ones.
 *
 * Its 16 MiB are touched only when a window has more than one owner, so that a sparse disk of many
 * windows costs next to nothing; `begin` makes it ready for the next window.
 */
export class OwnerMap {
  readonly #owners = new Uint32Array(WINDOW_BLOCKS);
  #first = 0;
  #end = 0;
  /** The owner of all blocks, as long as there is only one; then the array is not valid. */
  #uniform: number | undefined;

  get firstBlock(): number {
    return this.#first;
  }

  /** The block after the last one. */
  get endBlock(): number {
    return this.#end;
  }

  begin(window: { firstBlock: number; blockCount: number; owner: number }): void {
    assert(window.blockCount <= WINDOW_BLOCKS, "a window has its size");
    this.#first = window.firstBlock;
    this.#end = window.firstBlock + window.blockCount;
    this.#uniform = window.owner;
  }

  /** Gives blocks to an owner; those outside of the window are left out. */
  fill(firstBlock: number, blockCount: number, owner: number): void {
    const from = Math.max(firstBlock, this.#first);
    const to = Math.min(firstBlock + blockCount, this.#end);
    if (from >= to) return;
    if (from === this.#first && to === this.#end) {
      this.#uniform = owner;
      return;
    }
    if (this.#uniform !== undefined) {
      this.#owners.fill(this.#uniform, 0, this.#end - this.#first);
      this.#uniform = undefined;
    }
    if (to - from === 1) this.#owners[from - this.#first] = owner;
    else this.#owners.fill(owner, from - this.#first, to - this.#first);
  }

  /** The run that begins at `block` and ends before `limit`, or where the owner changes. */
  runAt(block: number, limit: number): OwnedRun {
    const last = Math.min(limit, this.#end);
    assert(block >= this.#first && block < last, "a run begins in its window");
    if (this.#uniform !== undefined) {
      return { firstBlock: block, blockCount: last - block, owner: this.#uniform };
    }
    const owners = this.#owners;
    const stop = last - this.#first;
    const start = block - this.#first;
    const owner = at(owners, start);
    let end = start + 1;
    while (end < stop && owners[end] === owner) end++;
    return { firstBlock: block, blockCount: end - start, owner };
  }

  /** All runs of the window, ascending. */
  *runs(): Generator<OwnedRun, void, undefined> {
    for (let block = this.#first; block < this.#end; ) {
      const run = this.runAt(block, this.#end);
      yield run;
      block += run.blockCount;
    }
  }
}
