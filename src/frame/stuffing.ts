/**
 * Byte stuffing: COBS (consistent overhead byte stuffing), then every byte XOR 0x0A.
 *
 * COBS leaves no 0x00 in its output, so after the XOR there is no 0x0A, and a newline can end each
 * frame. A code byte `c` stands for `c - 1` bytes that follow it, then one 0x00 unless `c` is 255
 * or the frame ends there.
 */
export const NEWLINE = 0x0a;

const CODE_MAX = 255;

/** The most bytes that `rawLength` bytes take when stuffed, without the newline. */
export function stuffedLengthMax(rawLength: number): number {
  return rawLength + Math.floor(rawLength / (CODE_MAX - 1)) + 1;
}

/** The stuffed bytes and the newline that ends them. */
export function stuff(raw: Uint8Array): Uint8Array {
  const stuffed = new Uint8Array(stuffedLengthMax(raw.length) + 1);
  let codeAt = 0;
  let at = 1;
  for (const byte of raw) {
    if (byte !== 0) stuffed[at++] = byte ^ NEWLINE;
    if (byte === 0 || at - codeAt === CODE_MAX) {
      stuffed[codeAt] = (at - codeAt) ^ NEWLINE;
      codeAt = at++;
    }
  }
  stuffed[codeAt] = (at - codeAt) ^ NEWLINE;
  stuffed[at++] = NEWLINE;
  return stuffed.subarray(0, at);
}

/**
 * The raw bytes, in a buffer of their own, or undefined when a code byte points past the end.
 *
 * @param stuffed Without the newline.
 */
export function unstuff(stuffed: Uint8Array): Uint8Array | undefined {
  const raw = new Uint8Array(stuffed.length);
  let rawLength = 0;
  for (let at = 0; at < stuffed.length; ) {
    const code = (stuffed[at++] as number) ^ NEWLINE;
    const end = at + code - 1;
    if (code === 0 || end > stuffed.length) return undefined;
    while (at < end) raw[rawLength++] = (stuffed[at++] as number) ^ NEWLINE;
    if (code < CODE_MAX && at < stuffed.length) raw[rawLength++] = 0;
  }
  return raw.subarray(0, rawLength);
}
