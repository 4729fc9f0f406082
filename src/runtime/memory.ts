/**
 * Keeps the memory of short-lived buffers bounded.
 *
 * A collection is started by the growth of the JavaScript heap, and a buffer that native code
 * filled is only a few bytes there: without help, hundreds of MiB of dead ones pile up. Where it is
 * plain who looks at a buffer last, `release` is the cheaper help.
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

/** Gives the memory of a buffer back at once. Nobody looks at it any more, nor at another view of it. */
export function release(bytes: Uint8Array): void {
  (bytes.buffer as ArrayBuffer).transfer(0);
}
