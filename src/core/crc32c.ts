/** CRC-32C (Castagnoli), reflected: iSCSI, ext4, SSE 4.2 and our frames use the same. */
const POLYNOMIAL = 0x82f6_3b78;

/** Bytes taken per step. Table `k` holds the CRC of a byte followed by `k` zero bytes. */
const SLICES = 8;
const TABLE = makeTables();

/**
 * CRC-32C of `bytes`, as an unsigned 32-bit number.
 *
 * @param previous The CRC of the bytes before these, to go on from there.
 */
export function crc32c(bytes: Uint8Array, previous = 0): number {
  let crc = ~previous;
  let at = 0;
  const sliced = bytes.length - (bytes.length % SLICES);
  // Indexes stay inside: each look-up is a table number below 8 times 256 plus one byte.
  for (; at < sliced; at += SLICES) {
    const low = crc ^ littleEndian32(bytes, at);
    const high = littleEndian32(bytes, at + 4);
    crc =
      look(7, low) ^
      look(6, low >>> 8) ^
      look(5, low >>> 16) ^
      look(4, low >>> 24) ^
      look(3, high) ^
      look(2, high >>> 8) ^
      look(1, high >>> 16) ^
      look(0, high >>> 24);
  }
  for (; at < bytes.length; at++) crc = look(0, crc ^ byteAt(bytes, at)) ^ (crc >>> 8);
  return ~crc >>> 0;
}

function look(slice: number, value: number): number {
  return TABLE[slice * 256 + (value & 0xff)] as number;
}

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

function littleEndian32(bytes: Uint8Array, at: number): number {
  return (
    byteAt(bytes, at) |
    (byteAt(bytes, at + 1) << 8) |
    (byteAt(bytes, at + 2) << 16) |
    (byteAt(bytes, at + 3) << 24)
  );
}

function makeTables(): Uint32Array {
  const tables = new Uint32Array(SLICES * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    tables[byte] = crc;
  }
  for (let at = 256; at < tables.length; at++) {
    const shorter = tables[at - 256] as number;
    tables[at] = (shorter >>> 8) ^ (tables[shorter & 0xff] as number);
  }
  return tables;
}
