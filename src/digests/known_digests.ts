import { Buffer } from "node:buffer";
import type { BlockSet } from "../core/block_set.ts";
import type { BlockExtent } from "../core/extent.ts";
import { assert } from "../errors.ts";
import type { DigestFile } from "./digest_file.ts";
import { DIGEST_BYTES, type Digester } from "./digester.ts";
import { hasUnknown, PAGE_BLOCKS } from "./page.ts";

/** The digests of a backup, to hold a disk against them, from its beginning to its end. */
export class KnownDigests {
  readonly #file: DigestFile;
  readonly #digester: Digester;
  /** Those asked for and not yet compared. */
  readonly #pages = new Map<number, Uint8Array>();

  constructor(file: DigestFile, digester: Digester) {
    this.#file = file;
    this.#digester = digester;
  }

  /**
   * Splits the disk, ascending, into extents of at most PAGE_BLOCKS. Those of which all digests
   * are known come first to be read and then to `differences`.
   *
   * @param blockCount How many blocks of the disk to look at.
   * @param unknown Takes the blocks of which the digests are not all known.
   */
  *extents(blockCount: number, unknown: BlockSet): Generator<BlockExtent, void, undefined> {
    const { shape } = this.#file;
    const end = Math.min(blockCount, shape.blockCount);
    for (let firstBlock = 0; firstBlock < end; firstBlock += PAGE_BLOCKS) {
      const pageIndex = firstBlock / PAGE_BLOCKS;
      const extent = { firstBlock, blockCount: Math.min(PAGE_BLOCKS, end - firstBlock) };
      const page = this.#page(pageIndex, extent.blockCount);
      if (page) {
        this.#pages.set(pageIndex, page);
        yield extent;
      } else {
        unknown.add(extent.firstBlock, extent.blockCount);
      }
    }
  }

  /**
   * Adds the blocks that are not as the backup has them.
   *
   * @param extent Part of one that `extents` gave. They come in the order in which it gave them.
   */
  differences({ firstBlock, blockCount }: BlockExtent, bytes: Uint8Array, into: BlockSet): void {
    const pageIndex = Math.floor(firstBlock / PAGE_BLOCKS);
    for (const index of this.#pages.keys()) {
      if (index < pageIndex) this.#pages.delete(index);
    }
    const page = this.#pages.get(pageIndex);
    assert(page !== undefined, "a page is compared after it was asked for");
    const start = (firstBlock % PAGE_BLOCKS) * DIGEST_BYTES;
    const expected = page.subarray(start, start + blockCount * DIGEST_BYTES);
    const actual = this.#digester.blocks(bytes, this.#file.shape.blockBytes);
    if (Buffer.compare(expected, actual) === 0) return;
    for (let i = 0; i < blockCount; i++) {
      const [from, to] = [i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES];
      if (Buffer.compare(expected.subarray(from, to), actual.subarray(from, to)) !== 0) {
        into.add(firstBlock + i, 1);
      }
    }
  }

  close(): void {
    this.#pages.clear();
    this.#file.close();
  }

  /** A page of which the first entries are all known. */
  #page(pageIndex: number, entryCount: number): Uint8Array | undefined {
    const page = this.#file.page(pageIndex);
    return page && !hasUnknown(page, entryCount) ? page : undefined;
  }
}
