/** Bitmaps in files of one length on tmpfs, to which bits are only ever added. */
import { Buffer } from "node:buffer";
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdirSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { assert } from "../errors.ts";

const PIECE_BYTES = 1 << 20;
const NO_BITS = new Uint8Array(PIECE_BYTES);

/** Makes a file of zero bits, all of it a hole, unless it is there already; and its folder. */
export function makeBitFile(path: string, bitmapBytes: number): void {
  const { O_CREAT, O_WRONLY, O_NOFOLLOW } = constants;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const descriptor = openSync(path, O_CREAT | O_WRONLY | O_NOFOLLOW, 0o600);
  try {
    ftruncateSync(descriptor, bitmapBytes);
  } finally {
    closeSync(descriptor);
  }
}

/** Calls `take` with whole words, and where in the file they are. */
export function readBitFile(
  path: string,
  bitmapBytes: number,
  take: (piece: Uint8Array, at: number) => void,
): void {
  const { size } = statSync(path);
  // Whoever made it was killed before it had its size, so before any bit was put into it.
  if (size === 0) return;
  assert(size === bitmapBytes, `${path} has the size of the bitmap`);
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, bitmapBytes));
  try {
    for (let at = 0; at < bitmapBytes; ) {
      const got = readSync(descriptor, piece, 0, piece.length, at);
      assert(got > 0 && got % 8 === 0, "a pending file is read in whole words");
      take(piece.subarray(0, got), at);
      at += got;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Adds the bits of a file to others. Cut off anywhere, it has taken none away. */
export function addBitFile(from: string, bitmapBytes: number, into: readonly string[]): void {
  const targets = into.map((path) => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
  try {
    readBitFile(from, bitmapBytes, (piece, at) => {
      // Nearly all of a file is a hole.
      if (Buffer.compare(piece, NO_BITS.subarray(0, piece.length)) === 0) return;
      for (const target of targets) addBits(target, piece, at);
    });
  } finally {
    for (const target of targets) closeSync(target);
  }
}

function addBits(descriptor: number, bits: Uint8Array, at: number): void {
  const both = new Uint8Array(bits.length);
  assert(readSync(descriptor, both, 0, both.length, at) === both.length, "the files are as long");
  const [into, more] = [wordsOf(both), wordsOf(bits)];
  for (let i = 0; i < into.length; i++) into[i] = (into[i] ?? 0) | (more[i] ?? 0);
  assert(writeSync(descriptor, both, 0, both.length, at) === both.length, "tmpfs writes it all");
}

/** Its length is that of whole words, and it begins its memory. */
function wordsOf(bits: Uint8Array): Uint32Array {
  return new Uint32Array(bits.buffer, bits.byteOffset, bits.length / 4);
}
