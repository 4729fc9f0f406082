/** AES-256-GCM and HKDF-SHA256, by the runtime's own native code. FORMAT.md section 4 says the same. */
import { hkdfSync } from "node:crypto";
import { SEAL_KEY_BYTES, type SealKey } from "../core/seal.ts";

const NONCE_BYTES = 12;

/** One sealed part of an object. */
export interface SealPart {
  /**
   * Makes the nonce: where the part begins in its pack; 0 for an index object and a manifest, which
   * have one part each. So no two parts under one key have the same.
   */
  place: number;
  /** What stands in the object in clear, and cannot be changed unnoticed. */
  publicPart?: Uint8Array | undefined;
  bytes: Uint8Array;
}

/** @returns The ciphertext and its tag. Computed off the main thread. */
export async function sealPart(key: SealKey, part: SealPart): Promise<Uint8Array> {
  const sealed = await crypto.subtle.encrypt(
    parametersOf(key, part),
    await importKey(key, "encrypt"),
    part.bytes as Uint8Array<ArrayBuffer>,
  );
  return new Uint8Array(sealed);
}

/** @returns Undefined when the part is not what was sealed with this key, at this place. */
export async function openPart(key: SealKey, part: SealPart): Promise<Uint8Array | undefined> {
  const imported = await importKey(key, "decrypt");
  const bytes = part.bytes as Uint8Array<ArrayBuffer>;
  try {
    return new Uint8Array(await crypto.subtle.decrypt(parametersOf(key, part), imported, bytes));
  } catch (error) {
    if (error instanceof DOMException && error.name === "OperationError") return undefined;
    throw error;
  }
}

/** @param context `sealContext`. @returns A key that no other salt or context gives. */
export function deriveKey(dataKey: Uint8Array, salt: Uint8Array, context: Uint8Array): SealKey {
  const key = new Uint8Array(hkdfSync("sha256", dataKey, salt, context, SEAL_KEY_BYTES));
  return { key, context };
}

function parametersOf({ context }: SealKey, { place, publicPart }: SealPart) {
  const iv = new Uint8Array(NONCE_BYTES);
  new DataView(iv.buffer).setBigUint64(NONCE_BYTES - 8, BigInt(place));
  const additionalData = new Uint8Array(context.length + 1 + (publicPart?.length ?? 0));
  additionalData.set(context);
  if (publicPart) additionalData.set(publicPart, context.length + 1);
  return { name: "AES-GCM", iv, additionalData };
}

async function importKey({ key }: SealKey, use: "encrypt" | "decrypt"): Promise<CryptoKey> {
  return await crypto.subtle.importKey("raw", key as Uint8Array<ArrayBuffer>, "AES-GCM", false, [
    use,
  ]);
}
