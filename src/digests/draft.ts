/**
 * Digests that are being gathered: some blocks, in any order, the last word on each counts.
 *
 * Pages are held in memory up to a limit, then they go to a file of their own, so that few changes
 * touch no disk and many take no memory.
 */
import type { BlockExtent } from "../core/extent.ts";
import { assert } from "../errors.ts";
import { DigestFile, type DiskShape, entriesOf, type Seal } from "./digest_file.ts";
import { DIGEST_BYTES } from "./digester.ts";
import type { CacheFiles } from "./files.ts";
import { fillUnknown, PAGE_BLOCKS, unknownPage } from "./page.ts";
import { Turns } from "./turns.ts";

/** 16 MiB: a page stands for 512 blocks. */
const PAGES_IN_MEMORY = 4096;

export interface DraftOptions {
  shape: DiskShape;
  seal: Seal;
  files: CacheFiles;
  /** Where the file will be, should one be needed: a path that nobody else uses. */
  path: string;
  pagesInMemory?: number | undefined;
}

export class DigestDraft {
  readonly #options: DraftOptions;
  readonly #pages = new Map<number, Uint8Array>();
  /** Memory of pages that are in the file: a base of a large disk goes through many thousands. */
  readonly #idle: Uint8Array[] = [];
  #file: DigestFile | undefined;

  constructor(options: DraftOptions) {
    this.#options = options;
  }

  /** @param digests DIGEST_BYTES for each block; "zeroes": all are blocks of zeroes. */
  set({ firstBlock, blockCount }: BlockExtent, digests: Uint8Array | "zeroes"): void {
    const end = firstBlock + blockCount;
    assert(end <= this.#options.shape.blockCount, "blocks lie on the disk");
    for (let block = firstBlock; block < end; ) {
      const pageIndex = Math.floor(block / PAGE_BLOCKS);
      const pageStart = pageIndex * PAGE_BLOCKS;
      const stop = Math.min(end, pageStart + PAGE_BLOCKS);
      const [from, to] = [block, stop].map((each) => (each - pageStart) * DIGEST_BYTES);
      const target = this.#ownPage(pageIndex).subarray(from, to);
      const source = (block - firstBlock) * DIGEST_BYTES;
      if (digests === "zeroes") target.fill(0);
      else target.set(digests.subarray(source, source + target.length));
      block = stop;
    }
  }

  /** Numbers of the pages that say something, ascending. */
  *pageIndexes(): Generator<number, void, undefined> {
    if (!this.#file) {
      yield* [...this.#pages.keys()].sort((left, right) => left - right);
      return;
    }
    for (let index = 0; index < this.#file.pageCount; index++) {
      if (this.#pages.has(index) || this.#file.has(index)) yield index;
    }
  }

  /** What the draft says of a page, and where it says nothing what `under` says. */
  merged(pageIndex: number, under: Uint8Array | undefined): Uint8Array {
    const page = this.#pages.get(pageIndex) ?? this.#storedPage(pageIndex) ?? unknownPage();
    if (under) fillUnknown(page, under, entriesOf(this.#options.shape, pageIndex));
    return page;
  }

  /**
   * Makes the draft's file the whole truth about a backup.
   *
   * @param under What is known where the draft says nothing.
   */
  async seal(backupId: string, under: DigestFile | undefined): Promise<void> {
    this.#spill();
    const file = this.#ensureFile();
    const pageCount = under ? Math.min(under.pageCount, file.pageCount) : 0;
    const turns = new Turns();
    for (let index = 0; index < pageCount; index++) {
      const page = under?.page(index);
      if (page) file.writePage(index, this.merged(index, page));
      await turns.next();
    }
    await file.seal(backupId);
  }

  /** Lets go of everything; the file stays where it is. */
  close(): void {
    this.#pages.clear();
    this.#idle.length = 0;
    this.#file?.close();
    this.#file = undefined;
  }

  #ownPage(pageIndex: number): Uint8Array {
    const present = this.#pages.get(pageIndex);
    if (present) return present;
    if (this.#pages.size >= (this.#options.pagesInMemory ?? PAGES_IN_MEMORY)) this.#spill();
    const page = this.#storedPage(pageIndex) ?? this.#idle.pop()?.fill(0xff) ?? unknownPage();
    this.#pages.set(pageIndex, page);
    return page;
  }

  #storedPage(pageIndex: number): Uint8Array | undefined {
    if (this.#file?.has(pageIndex) !== true) return undefined;
    const page = this.#file.page(pageIndex);
    // To forget what was recorded would leave the parent's digest standing for a changed block.
    assert(page !== undefined, "what was written to the draft can be read again");
    return page;
  }

  #spill(): void {
    const file = this.#ensureFile();
    for (const [index, page] of this.#pages) {
      file.writePage(index, page);
      if (this.#idle.length < PAGES_IN_MEMORY) this.#idle.push(page);
    }
    this.#pages.clear();
  }

  #ensureFile(): DigestFile {
    const { files, path, seal, shape } = this.#options;
    this.#file ??= DigestFile.create(files.create(path), seal, shape);
    return this.#file;
  }
}
