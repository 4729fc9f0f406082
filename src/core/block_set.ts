import { assert } from "../errors.ts";
import type { BlockExtent } from "./extent.ts";

/** Blocks per leaf. A leaf is 8 KiB of bits, allocated when its first block is added. */
const LEAF_BLOCKS = 65_536;
const LEAF_WORDS = LEAF_BLOCKS / 32;
const ALL_ONES = 0xffff_ffff;

/** Stands for a leaf whose blocks are all in the set, so that dense sets cost next to nothing. */
const FULL = "full";
type Leaf = Uint32Array | typeof FULL | undefined;

/**
 * A set of block numbers below a limit.
 *
 * Memory follows what is in the set, and is never more than one bit a block: 256 MiB for the
 * 2^31 blocks that the tracking unit keeps every disk below.
 */
export class BlockSet {
  readonly #leaves: Leaf[];
  /** Blocks in each leaf, and in all: so that an emptied leaf goes, and nobody has to look. */
  readonly #leafCounts: Uint32Array;
  #count = 0;
  /** Blocks are numbered from 0 up to, not including, this. */
  readonly blockCount: number;

  constructor(blockCount: number) {
    assert(Number.isSafeInteger(blockCount) && blockCount >= 0, "a block count is not negative");
    this.blockCount = blockCount;
    this.#leaves = new Array<Leaf>(Math.ceil(blockCount / LEAF_BLOCKS));
    this.#leafCounts = new Uint32Array(this.#leaves.length);
  }

  /** All blocks of a disk. */
  static full(blockCount: number): BlockSet {
    const set = new BlockSet(blockCount);
    set.add(0, blockCount);
    return set;
  }

  /** Adds `[firstBlock, firstBlock + count)`. */
  add(firstBlock: number, count: number): void {
    assert(firstBlock >= 0 && firstBlock + count <= this.blockCount, "blocks lie on the disk");
    const end = firstBlock + count;
    for (let block = firstBlock; block < end; ) {
      const leafIndex = Math.floor(block / LEAF_BLOCKS);
      const leafStart = leafIndex * LEAF_BLOCKS;
      const leafEnd = Math.min(end, leafStart + LEAF_BLOCKS);
      if (leafEnd - block === LEAF_BLOCKS) this.#setLeaf(leafIndex, FULL);
      else this.#addInLeaf(leafIndex, block - leafStart, leafEnd - leafStart);
      block = leafEnd;
    }
  }

  /**
   * Adds the blocks of a bitmap: bit i of the little-endian 64-bit word w, which starts at byte
   * 8 * w, is block `64 * (firstWord + w) + i`. Bits past the end of the disk are an error.
   */
  addBitmap(firstWord: number, bitmap: Uint8Array): void {
    assert(bitmap.length % 8 === 0, "a bitmap is made of 64-bit words");
    const isAligned = bitmap.byteOffset % 4 === 0;
    const { buffer, byteOffset } = isAligned ? bitmap : new Uint8Array(bitmap);
    // Every machine that this runs on is little-endian, as the bitmap is.
    const halves = new Uint32Array(buffer, byteOffset, bitmap.length / 4);
    for (let at = 0; at < halves.length; at++) {
      const bits = wordAt(halves, at);
      if (bits !== 0) this.#addHalfWord(firstWord * 64 + at * 32, bits);
    }
  }

  /** Adds every block of another set of the same disk. */
  addAll(other: BlockSet): void {
    for (const { firstBlock, blockCount } of other.extents()) this.add(firstBlock, blockCount);
  }

  /** Takes out `[firstBlock, firstBlock + count)`; what is not in the set is fine. */
  remove(firstBlock: number, count: number): void {
    assert(firstBlock >= 0 && firstBlock + count <= this.blockCount, "blocks lie on the disk");
    const end = firstBlock + count;
    for (let block = firstBlock; block < end; ) {
      const leafIndex = Math.floor(block / LEAF_BLOCKS);
      const leafStart = leafIndex * LEAF_BLOCKS;
      const leafEnd = Math.min(end, leafStart + LEAF_BLOCKS);
      if (leafEnd - block === LEAF_BLOCKS) this.#setLeaf(leafIndex, undefined);
      else this.#removeInLeaf(leafIndex, block - leafStart, leafEnd - leafStart);
      block = leafEnd;
    }
  }

  has(block: number): boolean {
    const leaf = this.#leaves[Math.floor(block / LEAF_BLOCKS)];
    if (leaf === undefined) return false;
    if (leaf === FULL) return true;
    const bit = block % LEAF_BLOCKS;
    return ((wordAt(leaf, bit >>> 5) >>> (bit & 31)) & 1) === 1;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  /** How many blocks are in the set. */
  count(): number {
    return this.#count;
  }

  /** How many extents the set is made of. Cost: one look at each allocated word. */
  runCount(): number {
    let runs = 0;
    let before = 0;
    for (const leaf of this.#leaves) {
      if (leaf === undefined) {
        before = 0;
      } else if (leaf === FULL) {
        runs += 1 - before;
        before = 1;
      } else {
        // By index: an iterator's results are many times the size of the words.
        for (let at = 0; at < LEAF_WORDS; at++) {
          const bits = wordAt(leaf, at);
          runs += countOnes((bits & ~((bits << 1) | before)) >>> 0);
          before = bits >>> 31;
        }
      }
    }
    return runs;
  }

  /**
   * The set as extents: ascending, disjoint, no two touching. What came may be removed meanwhile.
   * @param from The blocks before it are left out.
   */
  *extents(from = 0): Generator<BlockExtent, void, undefined> {
    let merged: BlockExtent[] = [];
    for (const [index, leaf] of this.#leaves.entries()) {
      const start = index * LEAF_BLOCKS;
      if (leaf === undefined || start + LEAF_BLOCKS <= from) continue;
      const runs = leaf === FULL ? [0, LEAF_BLOCKS] : runsOfLeaf(leaf);
      appendRuns(merged, start < from ? runsAfter(runs, from - start) : runs, start);
      // The next leaf may go on where this one ends.
      const last = merged.pop();
      yield* merged;
      merged = last ? [last] : [];
    }
    yield* merged;
  }

  #addHalfWord(firstBlock: number, bits: number): void {
    const lastBlock = firstBlock + 31 - Math.clz32(bits);
    assert(lastBlock < this.blockCount, "bits lie on the disk");
    const leafIndex = Math.floor(firstBlock / LEAF_BLOCKS);
    if (this.#leaves[leafIndex] === FULL) return;
    const leaf = this.#leafAt(leafIndex);
    const at = (firstBlock % LEAF_BLOCKS) >>> 5;
    const before = wordAt(leaf, at);
    leaf[at] = before | bits;
    this.#noteCount(leafIndex, countOnes(bits & ~before));
  }

  #addInLeaf(leafIndex: number, from: number, to: number): void {
    if (this.#leaves[leafIndex] === FULL) return;
    const leaf = this.#leafAt(leafIndex);
    this.#noteCount(
      leafIndex,
      changeBits(leaf, [from, to], (word, mask) => word | mask),
    );
  }

  #removeInLeaf(leafIndex: number, from: number, to: number): void {
    if (this.#leaves[leafIndex] === undefined) return;
    if (this.#leaves[leafIndex] === FULL) {
      this.#leaves[leafIndex] = new Uint32Array(LEAF_WORDS).fill(ALL_ONES);
    }
    const leaf = this.#leafAt(leafIndex);
    this.#noteCount(
      leafIndex,
      changeBits(leaf, [from, to], (word, mask) => word & ~mask),
    );
    if (this.#leafCounts[leafIndex] === 0) this.#leaves[leafIndex] = undefined;
  }

  #setLeaf(leafIndex: number, leaf: typeof FULL | undefined): void {
    this.#leaves[leafIndex] = leaf;
    const count = leaf === FULL ? LEAF_BLOCKS : 0;
    this.#noteCount(leafIndex, count - (this.#leafCounts[leafIndex] ?? 0));
  }

  #noteCount(leafIndex: number, added: number): void {
    this.#count += added;
    this.#leafCounts[leafIndex] = (this.#leafCounts[leafIndex] ?? 0) + added;
  }

  #leafAt(leafIndex: number): Uint32Array {
    const present = this.#leaves[leafIndex];
    assert(present !== FULL, "a full leaf has no words");
    if (present !== undefined) return present;
    const leaf = new Uint32Array(LEAF_WORDS);
    this.#leaves[leafIndex] = leaf;
    return leaf;
  }
}

/**
 * Changes the words of a leaf that hold the bits `[from, to)`; `mask` says which of their bits.
 * @returns How many bits more are 1.
 */
function changeBits(
  leaf: Uint32Array,
  [from, to]: readonly [number, number],
  change: (word: number, mask: number) => number,
): number {
  const firstWord = from >>> 5;
  const lastWord = (to - 1) >>> 5;
  let added = 0;
  for (let at = firstWord; at <= lastWord; at++) {
    const low = at === firstWord ? ALL_ONES << (from & 31) : ALL_ONES;
    const high = at === lastWord ? ALL_ONES >>> (31 - ((to - 1) & 31)) : ALL_ONES;
    const before = wordAt(leaf, at);
    const after = change(before, low & high);
    leaf[at] = after;
    added += countOnes(after) - countOnes(before);
  }
  return added;
}

/** Appends runs, counted from `start`; one that touches the last extent makes that longer. */
function appendRuns(extents: BlockExtent[], runs: readonly number[], start: number): void {
  for (let at = 0; at < runs.length; at += 2) {
    const firstBlock = start + (runs[at] ?? 0);
    const blockCount = start + (runs[at + 1] ?? 0) - firstBlock;
    const last = extents.at(-1);
    if (last && last.firstBlock + last.blockCount === firstBlock) last.blockCount += blockCount;
    else extents.push({ firstBlock, blockCount });
  }
}

/** First, end, first, end... of the runs of a leaf, ascending; two may touch where words meet. */
function runsOfLeaf(leaf: Uint32Array): number[] {
  const runs: number[] = [];
  for (let at = 0; at < LEAF_WORDS; at++) {
    const bits = wordAt(leaf, at);
    if (bits === ALL_ONES) runs.push(at * 32, at * 32 + 32);
    else if (bits !== 0) pushRunsOfWord(runs, bits, at * 32);
  }
  return runs;
}

/** What of the runs lies at `from` or after it. */
function runsAfter(runs: readonly number[], from: number): number[] {
  const after: number[] = [];
  for (let at = 0; at < runs.length; at += 2) {
    const end = runs[at + 1] ?? 0;
    if (end > from) after.push(Math.max(from, runs[at] ?? 0), end);
  }
  return after;
}

function pushRunsOfWord(runs: number[], bits: number, base: number): void {
  let rest = bits;
  while (rest !== 0) {
    const first = trailingZeros(rest);
    const ones = trailingZeros(~(rest >>> first));
    runs.push(base + first, base + first + ones);
    rest = ones === 32 ? 0 : rest & ~(((1 << ones) - 1) << first);
  }
}

/** Adds up pairs, then fours, then eights of bits. */
function countOnes(word: number): number {
  let bits = word;
  bits -= (bits >>> 1) & 0x5555_5555;
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  bits = (bits + (bits >>> 4)) & 0x0f0f_0f0f;
  return Math.imul(bits, 0x0101_0101) >>> 24;
}

/** Number of zero bits below the lowest one; 32 for 0. */
function trailingZeros(bits: number): number {
  return bits === 0 ? 32 : 31 - Math.clz32(bits & -bits);
}

function wordAt(words: Uint32Array, index: number): number {
  const word = words[index];
  assert(word !== undefined, "a word index is inside its leaf");
  return word >>> 0;
}
