/**
 * Memory that O_DIRECT accepts.
 *
 * Bun and Node give large typed arrays whole pages; Deno does not, so the address is looked up and
 * the array starts where the next page does.
 */
const PAGE_BYTES = 4096;

interface DenoPointers {
  UnsafePointer: { of(bytes: Uint8Array): unknown; value(pointer: unknown): number | bigint };
}

const deno = (globalThis as { Deno?: DenoPointers }).Deno;

/** @returns `length` zero bytes that start at a multiple of 4,096 in memory. */
export function alignedBytes(length: number): Uint8Array {
  if (!deno?.UnsafePointer) return new Uint8Array(length);
  const bytes = new Uint8Array(length + PAGE_BYTES);
  const address = BigInt(deno.UnsafePointer.value(deno.UnsafePointer.of(bytes)));
  const past = Number(address % BigInt(PAGE_BYTES));
  const start = past === 0 ? 0 : PAGE_BYTES - past;
  return bytes.subarray(start, start + length);
}
