/** Who wrote a document: Ed25519, by the runtime's own native code. */
import { Buffer } from "node:buffer";
import { createPublicKey, type KeyObject, sign, verify } from "node:crypto";

export interface Signer {
  /** 32 bytes in base64. */
  publicKey: string;
  /** @returns 64 bytes in base64. */
  sign(bytes: Uint8Array): string;
}

/** Called when something is to be signed, so that a key is made when it is needed. */
export type FindSigner = () => Signer | undefined;

/** @param key An Ed25519 private key. */
export function signerOf(key: KeyObject): Signer {
  const { x = "" } = createPublicKey(key).export({ format: "jwk" });
  return {
    publicKey: Buffer.from(x, "base64url").toString("base64"),
    sign: (bytes) => sign(null, bytes, key).toString("base64"),
  };
}

interface Signed {
  writer: string | null;
  signature: string | null;
}

/** True when nobody claims to have signed. */
export function isSignatureGood(bytes: Uint8Array, { writer, signature }: Signed): boolean {
  if (writer === null || signature === null) return writer === signature;
  try {
    return verify(null, bytes, publicKeyOf(writer), Buffer.from(signature, "base64"));
  } catch {
    // No Ed25519 key, so nothing that it has signed.
    return false;
  }
}

const publicKeys = new Map<string, KeyObject>();
const PUBLIC_KEYS_MAX = 256;

function publicKeyOf(writer: string): KeyObject {
  const kept = publicKeys.get(writer);
  if (kept !== undefined) return kept;
  const x = Buffer.from(writer, "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  if (publicKeys.size >= PUBLIC_KEYS_MAX) publicKeys.clear();
  publicKeys.set(writer, key);
  return key;
}
