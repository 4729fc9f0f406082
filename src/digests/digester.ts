/**
 * Keyed digests of 8 bytes.
 *
 * A digest is made of a GMAC (NIST SP 800-38D) under a secret key: the fastest function at hand,
 * three times as fast as SHA-256. As a universal hash it gives whoever lacks the key a chance of 1 in
 * 2^63 at most to have made two blocks of 4 KiB with one digest. All blocks share one nonce, so
 * whoever sees digests may learn the key: both lie in the same folder of root's.
 *
 * Whoever has the key could solve a GMAC for eight unknown bytes of a block, as it is linear. So the
 * digest of a block is the beginning of AES(tag) xor tag (Davies-Meyer), which nobody can turn back:
 * what a block held can only be guessed, and the guess be tried.
 */
import { Buffer } from "node:buffer";
import { type Cipheriv, createCipheriv } from "node:crypto";
import { assert } from "../errors.ts";
import { noteDiscarded } from "../runtime/memory.ts";
import { contentRuns } from "../runtime/zero_scan.ts";

export const DIGEST_BYTES = 8;
export const KEY_BYTES = 16;

const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const ALL_ONES = 2 ** 32 - 1;
/** What a GMAC leaves behind: the system's library keeps its state outside of the heap. */
const TAG_GARBAGE_BYTES = 1 << 10;

export class Digester {
  // Buffers, which Bun takes as they are: a quarter faster.
  readonly #key: Buffer;
  /** Takes whole AES blocks, each by itself: one serves for all. */
  readonly #aes: Cipheriv;
  /** Zero for blocks, its number plus 1 for a page: so the digests of the two never mix. */
  readonly #nonce = Buffer.alloc(NONCE_BYTES);

  /** @param key KEY_BYTES that nobody else knows. */
  constructor(key: Uint8Array) {
    assert(key.length === KEY_BYTES, "a key has its length");
    this.#key = Buffer.from(key);
    this.#aes = createCipheriv("aes-128-ecb", this.#key, null).setAutoPadding(false);
  }

  /**
   * The digests of blocks: 0 for a block of zeroes and for no other, and never all ones.
   *
   * @param bytes Whole blocks.
   * @returns DIGEST_BYTES for each block.
   */
  blocks(bytes: Uint8Array, blockBytes: number): Uint8Array {
    const digests = new DataView(new ArrayBuffer((bytes.length / blockBytes) * DIGEST_BYTES));
    // Soon: whoever asked has them only until the next ones.
    noteDiscarded(digests.byteLength);
    this.#nonce.writeUInt32BE(0);
    for (const { block, blockCount, isZero } of contentRuns(bytes, blockBytes)) {
      if (isZero) continue;
      noteDiscarded(blockCount * TAG_GARBAGE_BYTES);
      const tags = Buffer.alloc(blockCount * TAG_BYTES);
      for (let index = 0; index < blockCount; index++) {
        const start = (block + index) * blockBytes;
        this.#tag(bytes.subarray(start, start + blockBytes)).copy(tags, index * TAG_BYTES);
      }
      const mask = this.#aes.update(tags);
      for (let index = 0; index < blockCount; index++) {
        const digest = beginning(tags, mask, index * TAG_BYTES);
        digests.setUint32((block + index) * DIGEST_BYTES, digest.first);
        digests.setUint32((block + index) * DIGEST_BYTES + 4, digest.second);
      }
    }
    return new Uint8Array(digests.buffer);
  }

  /** What a page at its place is known by: never 0 nor all ones either. */
  page(bytes: Uint8Array, pageIndex: number): bigint {
    this.#nonce.writeUInt32BE(pageIndex + 1);
    const tag = this.#tag(bytes);
    const { first, second } = beginning(tag, this.#aes.update(tag), 0);
    return (BigInt(first) << 32n) | BigInt(second);
  }

  #tag(bytes: Uint8Array): Buffer {
    const mac = createCipheriv("aes-128-gcm", this.#key, this.#nonce);
    mac.setAAD(bytes);
    mac.final();
    return mac.getAuthTag();
  }
}

function beginning(tags: Buffer, mask: Buffer, at: number): { first: number; second: number } {
  const first = (tags.readUInt32BE(at) ^ mask.readUInt32BE(at)) >>> 0;
  const second = (tags.readUInt32BE(at + 4) ^ mask.readUInt32BE(at + 4)) >>> 0;
  // These two have meanings of their own.
  const isTaken = first === second && (first === 0 || first === ALL_ONES);
  return { first: isTaken ? 1 : first, second };
}
