import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";

/** SHA-256 as 64 lower-case hexadecimal digits, computed at once: for small things. */
export function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** SHA-256, computed off the main thread: for large things. */
export async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

/** Like `sha256`, as 64 lower-case hexadecimal digits. */
export async function sha256HexOfLarge(bytes: Uint8Array): Promise<string> {
  return Buffer.from(await sha256(bytes)).toString("hex");
}
