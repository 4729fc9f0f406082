/** Bitmaps in files of one length on tmpfs, to which bits are only ever added. */
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
import { contentRuns } from "../runtime/zero_scan.ts";

const PIECE_BYTES = 1 << 20;
/** Nearly all of a file is a hole, and a few changes are spread over all of a large disk. */
const LOOK_BYTES = 512;

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

/** Calls `take` with whole words, and where in the file they are; what is left out has no bits. */
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
      for (const { start, end } of usedParts(piece.subarray(0, got))) {
        take(piece.subarray(start, end), at + start);
      }
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
      for (const target of targets) addBits(target, piece, at);
    });
  } finally {
    for (const target of targets) closeSync(target);
  }
}

/** Where in a piece there are bits. */
function* usedParts(piece: Uint8Array): Generator<{ start: number; end: number }> {
  const looks = piece.length - (piece.length % LOOK_BYTES);
  const runs = looks > 0 ? contentRuns(piece.subarray(0, looks), LOOK_BYTES) : [];
  for (const run of runs) {
    const start = run.block * LOOK_BYTES;
    if (!run.isZero) yield { start, end: start + run.blockCount * LOOK_BYTES };
  }
  if (looks < piece.length) yield { start: looks, end: piece.length };
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
