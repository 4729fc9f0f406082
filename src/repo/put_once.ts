import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import { assert } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { sha256Hex } from "./sha256.ts";

/**
 * Stores a document that must not exist yet.
 *
 * @returns False when another one is there. One with the same bytes counts as stored: the store
 *   retries, and its first attempt may have worked although the answer was lost.
 */
export async function putOnce(store: Store, key: string, bytes: Uint8Array): Promise<boolean> {
  assert(bytes.length <= DOCUMENT_BYTES_MAX, "a document keeps to its limit");
  if (await store.putIfAbsent(key, bytes)) return true;
  const present = await store.get(key, { maxBytes: DOCUMENT_BYTES_MAX });
  return present !== undefined && sha256Hex(present) === sha256Hex(bytes);
}
