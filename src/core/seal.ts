/** How the sealed parts of objects are laid out. The cryptography itself is in repo/cipher.ts. */
import type { ByteReader, ByteWriter } from "./bytes.ts";

export const SEAL_KEY_BYTES = 32;
/** What sealing adds. */
export const SEAL_TAG_BYTES = 16;
const SALT_BYTES = 32;
const WRAPPED_KEY_BYTES_MAX = 4096;

/** The kinds of objects that have sealed parts. */
export type SealedKind = "pack" | "index" | "manifest";

/** What an object says of how it is sealed. */
export interface SealHeader {
  /**
   * Random, another for each object, sealed or not: no two objects have one name, so gc never removes
   * what somebody has just stored once more.
   */
  salt: Uint8Array;
  /** The data key of the backup, an age file. Empty: nothing is sealed. */
  wrappedKey: Uint8Array;
}

export const NO_SEAL: SealHeader = {
  salt: new Uint8Array(SALT_BYTES),
  wrappedKey: new Uint8Array(0),
};

/** The key of one object, and what its seals are bound to besides: `sealContext`. */
export interface SealKey {
  /** `SEAL_KEY_BYTES` long. */
  key: Uint8Array;
  context: Uint8Array;
}

/** Bytes that `encodeSealHeader` writes for the shortest header. */
export const SEAL_HEADER_BYTES_MIN = 2 + SALT_BYTES;

export function encodeSealHeader(writer: ByteWriter, { salt, wrappedKey }: SealHeader): void {
  writer.u16(wrappedKey.length);
  writer.bytes(salt);
  writer.bytes(wrappedKey);
}

/** The bytes are copied: they outlive the object. @throws IbackupError CORRUPT_DATA. */
export function decodeSealHeader(reader: ByteReader): SealHeader {
  const wrappedKeyBytes = reader.u16();
  if (wrappedKeyBytes > WRAPPED_KEY_BYTES_MAX) {
    throw reader.damaged(`its wrapped key has ${wrappedKeyBytes} bytes`);
  }
  const salt = new Uint8Array(reader.bytes(SALT_BYTES));
  const wrappedKey = new Uint8Array(reader.bytes(wrappedKeyBytes));
  return { salt, wrappedKey };
}

export function isSealed({ wrappedKey }: SealHeader): boolean {
  return wrappedKey.length > 0;
}

/** What object keys are derived for, and seals are bound to. */
export function sealContext(kind: SealedKind, repositoryId: string): Uint8Array {
  return new TextEncoder().encode(`ibackup ${kind} ${repositoryId}`);
}
