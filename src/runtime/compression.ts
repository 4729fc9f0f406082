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
  // Bun's own call knows no limit: it is used only where the header promises to stay below one.
  const promisedBytes = bun ? contentBytesOf(bytes) : undefined;
  if (bun && promisedBytes !== undefined && promisedBytes <= maxBytes) {
    const content = await bun.zstdDecompress(bytes);
    if (content.length > maxBytes) throw new RangeError(`it holds more than ${maxBytes} bytes`);
    return content;
  }
  return await decompressPortably(bytes, { maxOutputLength: maxBytes });
}

const MAGIC = 0xfd2f_b528;
/** How many bytes the content size takes, by the upper two bits of the descriptor. */
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
/** How many bytes the dictionary id takes, by the lower two bits. */
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];

/** The content size in the header of a zstd frame (RFC 8878, 3.1.1.1), or undefined without one. */
function contentBytesOf(bytes: Uint8Array): number | undefined {
  const header = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (header.byteLength < 18 || header.getUint32(0, true) !== MAGIC) return undefined;
  const descriptor = header.getUint8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const sizeBytes = CONTENT_SIZE_BYTES[descriptor >>> 6];
  const sizeAt = (isSingleSegment ? 5 : 6) + (DICTIONARY_ID_BYTES[descriptor & 3] ?? 0);
  if (sizeBytes === 2) return header.getUint16(sizeAt, true) + 256;
  if (sizeBytes === 4) return header.getUint32(sizeAt, true);
  if (sizeBytes === 8) return Number(header.getBigUint64(sizeAt, true));
  return isSingleSegment ? header.getUint8(sizeAt) : undefined;
}
