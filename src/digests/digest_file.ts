/**
 * The digests of one backup in a file that is trusted only as far as it proves itself.
 *
 *   header    what the file describes, and a code over the table and all this
 *   table     for each page 8 bytes: its check, 0 for a page of zeroes, all ones for an unknown one
 *   pages     512 digests each; a page that its table entry says all about is left a hole
 *
 * Whatever has been lost, torn, mixed with another state or changed on the disk does not fit what
 * stands above it, up to the header; and a header was only ever written with a table and pages
 * that are the truth about the backup it names. So no order of writes has to be kept, and a crash
 * at any moment costs the cache or a page of it, never a block.
 */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { assert } from "../errors.ts";
import type { Digester } from "./digester.ts";
import type { CacheFile } from "./files.ts";
import { isFilledWith, newPage, PAGE_BLOCKS, PAGE_BYTES } from "./page.ts";

export interface DiskShape {
  blockBytes: number;
  blockCount: number;
}

/** What makes the checks: nobody else can make a file that fits. */
export interface Seal {
  key: Uint8Array;
  digester: Digester;
  /** Which disk of which repository. */
  name: string;
}

const MAGIC = "ibkdigst";
const VERSION = 1;
const HEADER_BYTES = 4096;
const ID_AT = 24;
const ID_BYTES_MAX = 40;
const TABLE_CODE_AT = 64;
const CODE_AT = 96;
const CODE_BYTES = 32;

const ENTRY_BYTES = 8;
const ENTRIES_PER_PAGE = PAGE_BYTES / ENTRY_BYTES;
const ZEROES = 0n;
const UNKNOWN = 2n ** 64n - 1n;

export class DigestFile {
  readonly shape: DiskShape;
  readonly pageCount: number;
  readonly #file: CacheFile;
  readonly #seal: Seal;
  readonly #table: BigUint64Array;
  /** Pages of the table that the file does not have yet. */
  readonly #changed = new Set<number>();

  private constructor(file: CacheFile, seal: Seal, shape: DiskShape) {
    this.#file = file;
    this.#seal = seal;
    this.shape = shape;
    this.pageCount = pageCountOf(shape);
    this.#table = new BigUint64Array(roundUp(this.pageCount, ENTRIES_PER_PAGE)).fill(UNKNOWN);
  }

  /** @param file Empty. Every digest is unknown at first. */
  static create(file: CacheFile, seal: Seal, shape: DiskShape): DigestFile {
    const created = new DigestFile(file, seal, shape);
    for (let at = 0; at < created.#table.length; at += ENTRIES_PER_PAGE) {
      created.#changed.add(at / ENTRIES_PER_PAGE);
    }
    return created;
  }

  /** @returns Undefined when it is not, wholly and provably, the file about that backup. */
  static open(file: CacheFile, seal: Seal, backupId: string): DigestFile | undefined {
    const header = new Uint8Array(CODE_AT + CODE_BYTES);
    file.readAt(header, 0);
    const view = new DataView(header.buffer);
    const shape = { blockBytes: view.getUint32(12, true), blockCount: view.getUint32(16, true) };
    const expected = headerOf(seal, backupId, { shape, tableCode: header.subarray(TABLE_CODE_AT) });
    if (Buffer.compare(header, expected) !== 0) return undefined;
    const found = new DigestFile(file, seal, shape);
    file.readAt(found.#tableBytes(), HEADER_BYTES);
    const isIntact = Buffer.compare(found.#tableCode(), header.subarray(TABLE_CODE_AT, CODE_AT));
    return isIntact === 0 ? found : undefined;
  }

  /** False when no digest of the page is known. */
  has(pageIndex: number): boolean {
    return this.#entry(pageIndex) !== UNKNOWN;
  }

  /** A page of one's own; undefined when none of it is known, or it is damaged. */
  page(pageIndex: number): Uint8Array | undefined {
    const entry = this.#entry(pageIndex);
    if (entry === UNKNOWN) return undefined;
    const page = newPage();
    if (entry === ZEROES) return page;
    this.#file.readAt(page, this.#offsetOf(pageIndex));
    return this.#seal.digester.page(page, pageIndex) === entry ? page : undefined;
  }

  /** Until `page` need not wait for the disk. Whether that can be read, `page` finds out. */
  async expect(pageIndex: number): Promise<void> {
    const entry = this.#entry(pageIndex);
    if (entry === UNKNOWN || entry === ZEROES) return;
    await this.#file.expect(this.#offsetOf(pageIndex), PAGE_BYTES);
  }

  writePage(pageIndex: number, page: Uint8Array): void {
    const entry = this.#checkOf(page, pageIndex);
    if (entry !== ZEROES && entry !== UNKNOWN) this.#file.writeAt(page, this.#offsetOf(pageIndex));
    this.#table[pageIndex] = entry;
    this.#changed.add(Math.floor(pageIndex / ENTRIES_PER_PAGE));
  }

  /** Makes it the file about a backup, lastingly. */
  async seal(backupId: string): Promise<void> {
    const bytes = this.#tableBytes();
    for (const index of this.#changed) {
      const at = index * PAGE_BYTES;
      this.#file.writeAt(bytes.subarray(at, at + PAGE_BYTES), HEADER_BYTES + at);
    }
    this.#changed.clear();
    const { shape } = this;
    const tableCode = this.#tableCode();
    this.#file.writeAt(headerOf(this.#seal, backupId, { shape, tableCode }), 0);
    await this.#file.sync();
  }

  close(): void {
    this.#file.close();
  }

  #entry(pageIndex: number): bigint {
    assert(pageIndex >= 0 && pageIndex < this.pageCount, "a page is one of the disk");
    return this.#table[pageIndex] ?? UNKNOWN;
  }

  #checkOf(page: Uint8Array, pageIndex: number): bigint {
    if (isFilledWith(page, 0)) return ZEROES;
    if (isFilledWith(page, 0xff)) return UNKNOWN;
    return this.#seal.digester.page(page, pageIndex);
  }

  #offsetOf(pageIndex: number): number {
    return HEADER_BYTES + this.#table.byteLength + pageIndex * PAGE_BYTES;
  }

  #tableBytes(): Uint8Array {
    return new Uint8Array(this.#table.buffer);
  }

  #tableCode(): Uint8Array {
    return createHmac("sha256", this.#seal.key).update(this.#tableBytes()).digest();
  }
}

export function pageCountOf({ blockCount }: DiskShape): number {
  return Math.ceil(blockCount / PAGE_BLOCKS);
}

/** How many of a page's entries stand for blocks of the disk. */
export function entriesOf({ blockCount }: DiskShape, pageIndex: number): number {
  return Math.min(PAGE_BLOCKS, blockCount - pageIndex * PAGE_BLOCKS);
}

function headerOf(
  { key, name }: Seal,
  backupId: string,
  { shape, tableCode }: { shape: DiskShape; tableCode: Uint8Array },
): Uint8Array {
  assert(backupId.length <= ID_BYTES_MAX, "a backup id fits the header");
  const header = new Uint8Array(CODE_AT + CODE_BYTES);
  const view = new DataView(header.buffer);
  header.set(Buffer.from(MAGIC));
  view.setUint32(8, VERSION, true);
  view.setUint32(12, shape.blockBytes, true);
  view.setUint32(16, shape.blockCount, true);
  header.set(Buffer.from(backupId), ID_AT);
  header.set(tableCode.subarray(0, CODE_BYTES), TABLE_CODE_AT);
  const code = createHmac("sha256", key).update(header.subarray(0, CODE_AT)).update(name).digest();
  header.set(code, CODE_AT);
  return header;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
