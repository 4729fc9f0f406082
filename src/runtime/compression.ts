/**
 * zstd, by the runtime's own native code.
 *
 * Bun's call is about twice as fast as its `node:zlib` one; Deno and Node have only the latter.
 */
import { promisify } from "node:util";
import { constants, zstdCompress, zstdDecompress } from "node:zlib";

interface BunZstd {
  zstdCompress(bytes: Uint8Array, options: { level: number }): Promise<Uint8Array>;
  zstdDecompress(bytes: Uint8Array): Promise<Uint8Array>;
}

const bun = (globalThis as { Bun?: BunZstd }).Bun;
const compressPortably = promisify(zstdCompress);
const decompressPortably = promisify(zstdDecompress);

/** @param level zstd's: 1 fastest, 3 its default, 19 smallest. */
export function compress(bytes: Uint8Array, level: number): Promise<Uint8Array> {
  if (bun) return bun.zstdCompress(bytes, { level });
  return compressPortably(bytes, { params: { [constants.ZSTD_c_compressionLevel]: level } });
}

/**
 * @param maxBytes Refuses to give more, so that a hostile object cannot fill the memory.
 * @throws When the bytes are not one valid zstd frame, or hold more than `maxBytes`.
 */
export async function decompress(bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  const frame = bun ? measureFrame(bytes) : undefined;
  if (bun === undefined || frame === undefined) {
    return await decompressPortably(bytes, { maxOutputLength: maxBytes });
  }
  // Bun's own call knows no limit, and decodes frame after frame.
  if (frame.lengthBytes !== bytes.length) throw new RangeError("it is not one whole zstd frame");
  if (frame.contentBytes > maxBytes) throw new RangeError(`it holds more than ${maxBytes} bytes`);
  return await bun.zstdDecompress(bytes);
}

const MAGIC = 0xfd2f_b528;
/** How many bytes the content size takes, by the upper two bits of the descriptor. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
/** How many bytes the dictionary id takes, by the lower two bits. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];

/** Whether it is the last one, type and size of a block are in its first three bytes. */
const BLOCK_HEADER_BYTES = 3;
const BLOCK_RLE = 1;
const CHECKSUM_BYTES = 4;

interface FrameSize {
  /** What it promises to hold. */
  contentBytes: number;
  /** Of the frame itself. */
  lengthBytes: number;
}

/** The first zstd frame (RFC 8878, 3.1.1), or undefined where it does not say how much it holds. */
function measureFrame(bytes: Uint8Array): FrameSize | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 18 || view.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = view.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = CONTENT_SIZE_BYTES[descriptor >>> 6] || (isSingleSegment ? 1 : 0);
  const sizeAt = (isSingleSegment ? 5 : 6) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0);
  if (sizeBytes === 0) return undefined;
  const blocksEnd = endOfBlocks(view, sizeAt + sizeBytes);
  const checksumBytes = (descriptor & 4) === 0 ? 0 : CHECKSUM_BYTES;
  return {
    contentBytes: contentBytesAt(view, sizeAt, sizeBytes),
    lengthBytes: blocksEnd + checksumBytes,
  };
}

function contentBytesAt(view: DataView, at: number, sizeBytes: number): number {
  if (sizeBytes === 2) return view.getUint16(at, true) + 256;
  if (sizeBytes === 4) return view.getUint32(at, true);
  return sizeBytes === 8 ? Number(view.getBigUint64(at, true)) : view.getUint8(at);
}

/** @returns Where the last block ends; a place past the end when it is cut off. */
function endOfBlocks(view: DataView, firstAt: number): number {
  for (let at = firstAt; at + BLOCK_HEADER_BYTES <= view.byteLength; ) {
    const header = view.getUint16(at, true) | (view.getUint8(at + 2) << 16);
    const isLast = (header & 1) !== 0;
    at += BLOCK_HEADER_BYTES + (((header >>> 1) & 3) === BLOCK_RLE ? 1 : header >>> 3);
    if (isLast) return at;
  }
  return Number.POSITIVE_INFINITY;
}
