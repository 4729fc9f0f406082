import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";

/** Less than a millisecond of work. */
const BYTES_PER_TURN = 1 << 20;

/** SHA-256 as 64 lower-case hexadecimal digits, computed at once: for small things. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** SHA-256, computed off the main thread: for large things. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

/** Like `sha256Hex`, making room for others now and then; unlike `sha256` it makes no copy. */
export async function sha256HexOfLarge(bytes: Uint8Array): Promise<string> {
  const hash = createHash("sha256");
  for (let done = 0; done < bytes.length; done += BYTES_PER_TURN) {
    if (done > 0) await setImmediate();
    hash.update(bytes.subarray(done, done + BYTES_PER_TURN));
  }
  return hash.digest("hex");
}
