/**
 * Pages of digests: what is read, checked and written at once.
 *
 * An entry is the digest of a block: 0 for a block of zeroes, all ones where it is not known.
 */
import { noteDiscarded } from "../runtime/memory.ts";
import { DIGEST_BYTES } from "./digester.ts";

export const PAGE_BYTES = 4096;
/** Digests in a page. */
export const PAGE_BLOCKS = PAGE_BYTES / DIGEST_BYTES;

const ALL_ONES = 2 ** 32 - 1;

export function unknownPage(): Uint8Array {
  return newPage().fill(0xff);
}

/** A page of zeroes. No page is kept for long. */
export function newPage(): Uint8Array {
  noteDiscarded(PAGE_BYTES);
  return new Uint8Array(PAGE_BYTES);
}

/** True when one of the first entries is not known. */
export function hasUnknown(page: Uint8Array, entryCount: number): boolean {
  const halves = halvesOf(page);
  for (let at = 0; at < 2 * entryCount; at += 2) {
    if (halves[at] === ALL_ONES && halves[at + 1] === ALL_ONES) return true;
  }
  return false;
}

/** Gives the first entries of a page that are not known the values of another page. */
export function fillUnknown(page: Uint8Array, from: Uint8Array, entryCount: number): void {
  const [halves, others] = [halvesOf(page), halvesOf(from)];
  for (let at = 0; at < 2 * entryCount; at += 2) {
    if (halves[at] !== ALL_ONES || halves[at + 1] !== ALL_ONES) continue;
    halves[at] = others[at] as number;
    halves[at + 1] = others[at + 1] as number;
  }
}

/** True when every byte is `byte`. */
export function isFilledWith(page: Uint8Array, byte: 0 | 0xff): boolean {
  const word = byte === 0 ? 0 : ALL_ONES;
  return halvesOf(page).every((half) => half === word);
}

function halvesOf(page: Uint8Array): Uint32Array {
  return new Uint32Array(page.buffer, page.byteOffset, PAGE_BYTES / 4);
}
