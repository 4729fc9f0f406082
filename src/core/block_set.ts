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
  /** Blocks are numbered from 0 up to, not including, this. */
  readonly blockCount: number;

  constructor(blockCount: number) {
    assert(Number.isSafeInteger(blockCount) && blockCount >= 0, "a block count is not negative");
    this.blockCount = blockCount;
    this.#leaves = new Array<Leaf>(Math.ceil(blockCount / LEAF_BLOCKS));
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
      if (leafEnd - block === LEAF_BLOCKS) this.#leaves[leafIndex] = FULL;
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
    const halves = new DataView(bitmap.buffer, bitmap.byteOffset, bitmap.byteLength);
    for (let at = 0; at < bitmap.length; at += 4) {
      const bits = halves.getUint32(at, true);
      if (bits !== 0) this.#addHalfWord(firstWord * 64 + at * 8, bits);
    }
  }

  /** Adds every block of another set of the same disk. */
  addAll(other: BlockSet): void {
    for (const { firstBlock, blockCount } of other.extents()) this.add(firstBlock, blockCount);
  }

  has(block: number): boolean {
    const leaf = this.#leaves[Math.floor(block / LEAF_BLOCKS)];
    if (leaf === undefined) return false;
    if (leaf === FULL) return true;
    const bit = block % LEAF_BLOCKS;
    return ((wordAt(leaf, bit >>> 5) >>> (bit & 31)) & 1) === 1;
  }

  get isEmpty(): boolean {
    return this.extents().next().done === true;
  }

  /** How many blocks are in the set. Cost: one look at each allocated word. */
  count(): number {
    let total = 0;
    for (const { blockCount } of this.extents()) total += blockCount;
    return total;
  }

  /** The set as extents: ascending, disjoint, no two touching. */
  *extents(): Generator<BlockExtent, void, undefined> {
    let first = -1;
    let end = -1;
    for (const [runFirst, runEnd] of this.#runs()) {
      if (runFirst === end) {
        end = runEnd;
        continue;
      }
      if (first >= 0) yield { firstBlock: first, blockCount: end - first };
      first = runFirst;
      end = runEnd;
    }
    if (first >= 0) yield { firstBlock: first, blockCount: end - first };
  }

  #addHalfWord(firstBlock: number, bits: number): void {
    const lastBlock = firstBlock + 31 - Math.clz32(bits);
    assert(lastBlock < this.blockCount, "bits lie on the disk");
    const leafIndex = Math.floor(firstBlock / LEAF_BLOCKS);
    if (this.#leaves[leafIndex] === FULL) return;
    const leaf = this.#leafAt(leafIndex);
    const at = (firstBlock % LEAF_BLOCKS) >>> 5;
    leaf[at] = wordAt(leaf, at) | bits;
  }

  #addInLeaf(leafIndex: number, from: number, to: number): void {
    if (this.#leaves[leafIndex] === FULL) return;
    const leaf = this.#leafAt(leafIndex);
    const firstWord = from >>> 5;
    const lastWord = (to - 1) >>> 5;
    const firstMask = (ALL_ONES << (from & 31)) >>> 0;
    const lastMask = ALL_ONES >>> (31 - ((to - 1) & 31));
    if (firstWord === lastWord) {
      leaf[firstWord] = wordAt(leaf, firstWord) | (firstMask & lastMask);
      return;
    }
    leaf[firstWord] = wordAt(leaf, firstWord) | firstMask;
    leaf.fill(ALL_ONES, firstWord + 1, lastWord);
    leaf[lastWord] = wordAt(leaf, lastWord) | lastMask;
  }

  #leafAt(leafIndex: number): Uint32Array {
    const present = this.#leaves[leafIndex];
    assert(present !== FULL, "a full leaf has no words");
    if (present !== undefined) return present;
    const leaf = new Uint32Array(LEAF_WORDS);
    this.#leaves[leafIndex] = leaf;
    return leaf;
  }

  /** Runs as [first, end), ascending; two may touch where words or leaves meet. */
  *#runs(): Generator<[number, number], void, undefined> {
    for (let index = 0; index < this.#leaves.length; index++) {
      const leaf = this.#leaves[index];
      const start = index * LEAF_BLOCKS;
      if (leaf === FULL) yield [start, start + LEAF_BLOCKS];
      else if (leaf !== undefined) yield* runsOfLeaf(leaf, start);
    }
  }
}

function* runsOfLeaf(leaf: Uint32Array, start: number): Generator<[number, number]> {
  for (let at = 0; at < LEAF_WORDS; at++) {
    const bits = wordAt(leaf, at);
    if (bits === 0) continue;
    const base = start + at * 32;
    if (bits === ALL_ONES) yield [base, base + 32];
    else yield* runsOfWord(bits, base);
  }
}

function* runsOfWord(bits: number, base: number): Generator<[number, number]> {
  let rest = bits;
  while (rest !== 0) {
    const first = trailingZeros(rest);
    const ones = trailingZeros(~(rest >>> first));
    yield [base + first, base + first + ones];
    rest = ones === 32 ? 0 : rest & ~(((1 << ones) - 1) << first);
  }
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
