/**
 * Keeps the memory of short-lived buffers bounded.
 *
 * A collection is started by the growth of the JavaScript heap, and a buffer that native code
 * filled is only a few bytes there: without help, hundreds of MiB of dead ones pile up.
 */
const BYTES_BETWEEN_COLLECTIONS = 32 << 20;

const bun = (globalThis as { Bun?: { gc(synchronously: boolean): void } }).Bun;
let discardedBytes = 0;

/** To be told of buffers that nobody will look at any more, in bytes. */
export function noteDiscarded(bytes: number): void {
  discardedBytes += bytes;
  if (discardedBytes < BYTES_BETWEEN_COLLECTIONS) return;
  discardedBytes = 0;
  bun?.gc(true);
}
