import { Buffer } from "node:buffer";

/** One native comparison looks at this much, at memory speed; it ends at the first other byte. */
const ZEROES = Buffer.alloc(1 << 20);

/** A run of blocks of one piece, all of zeroes or none. */
export interface ContentRun {
  /** Number of the first block within the piece. */
  block: number;
  blockCount: number;
  isZero: boolean;
}

/** True when every byte is zero. */
export function isAllZero(bytes: Uint8Array): boolean {
  return isZeroRange(bytes, 0, bytes.length);
}

/** Splits a piece into runs of zero blocks and other blocks; a piece of zeroes costs one look. */
export function* contentRuns(
  bytes: Uint8Array,
  blockBytes: number,
): Generator<ContentRun, void, undefined> {
  const blockCount = bytes.length / blockBytes;
  if (isAllZero(bytes)) {
    yield { block: 0, blockCount, isZero: true };
    return;
  }
  let start = 0;
  let isZero = isZeroRange(bytes, 0, blockBytes);
  for (let block = 1; block < blockCount; block++) {
    const next = isZeroRange(bytes, block * blockBytes, (block + 1) * blockBytes);
    if (next === isZero) continue;
    yield { block: start, blockCount: block - start, isZero };
    start = block;
    isZero = next;
  }
  yield { block: start, blockCount: blockCount - start, isZero };
}

function isZeroRange(bytes: Uint8Array, start: number, end: number): boolean {
  // Most blocks that hold data show it here, without a call into native code.
  if (bytes[start] !== 0 || bytes[end - 1] !== 0) return false;
  for (let at = start; at < end; at += ZEROES.length) {
    const stop = Math.min(end, at + ZEROES.length);
    if (ZEROES.compare(bytes, at, stop, 0, stop - at) !== 0) return false;
  }
  return true;
}
