import { Buffer } from "node:buffer";
import {
  isSealed,
  type SealedKind,
  type SealHeader,
  type SealKey,
  sealContext,
} from "../core/seal.ts";
import { deriveKey } from "./cipher.ts";

/**
 * Gives the data key for its wrapped form.
 *
 * @throws IbackupError NO_KEY without a fitting identity; CORRUPT_DATA for what is no wrapped key.
 */
export type Unwrap = (wrappedKey: Uint8Array) => Promise<Uint8Array>;

/** Backups of which the data keys are kept: unwrapping takes some milliseconds. */
const KEYS_KEPT_MAX = 4096;

/** Opens sealed objects. */
export class Opener {
  readonly #repositoryId: string;
  readonly #unwrap: Unwrap;
  readonly #dataKeys = new Map<string, Promise<Uint8Array>>();

  constructor(repositoryId: string, unwrap: Unwrap) {
    this.#repositoryId = repositoryId;
    this.#unwrap = unwrap;
  }

  /** @returns Undefined where nothing is sealed. @throws What `unwrap` throws. */
  async keyOf(kind: SealedKind, header: SealHeader): Promise<SealKey | undefined> {
    if (!isSealed(header)) return undefined;
    const dataKey = await this.#dataKeyOf(header.wrappedKey);
    return deriveKey(dataKey, header.salt, this.contextOf(kind));
  }

  /** What the seals of objects of this kind are bound to. */
  contextOf(kind: SealedKind): Uint8Array {
    return sealContext(kind, this.#repositoryId);
  }

  #dataKeyOf(wrappedKey: Uint8Array): Promise<Uint8Array> {
    const name = Buffer.from(wrappedKey).toString("base64");
    const kept = this.#dataKeys.get(name);
    if (kept !== undefined) return kept;
    const [oldest] = this.#dataKeys.keys();
    if (this.#dataKeys.size >= KEYS_KEPT_MAX && oldest !== undefined) this.#dataKeys.delete(oldest);
    const dataKey = this.#unwrap(wrappedKey);
    this.#dataKeys.set(name, dataKey);
    return dataKey;
  }
}
