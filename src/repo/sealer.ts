import { randomBytes } from "node:crypto";
import {
  NO_SEAL,
  type SealedKind,
  type SealHeader,
  type SealKey,
  sealContext,
} from "../core/seal.ts";
import { deriveKey } from "./cipher.ts";

/** How one new object is sealed. */
export interface ObjectSeal {
  /** For its header. */
  header: SealHeader;
  /** For its parts, each at a place of its own. Undefined: nothing is sealed. */
  key: SealKey | undefined;
}

/** Seals the objects of one backup. Whoever opens it closes it. */
export interface Sealer {
  /** For a new object: another key each time. */
  begin(kind: SealedKind): ObjectSeal;
  /** Forgets the data key. */
  close(): void;
}

/** For repositories without encryption. */
export const NO_SEALER: Sealer = {
  begin: () => ({ header: { ...NO_SEAL, salt: newSalt() }, key: undefined }),
  close: () => undefined,
};

/**
 * @param keys `dataKey`: random, used for one backup only; it is wiped at the end. `wrappedKey`: the
 *   same for whoever has an identity.
 */
export function openSealer(
  repositoryId: string,
  { dataKey, wrappedKey }: { dataKey: Uint8Array; wrappedKey: Uint8Array },
): Sealer {
  return {
    begin(kind) {
      const salt = newSalt();
      const key = deriveKey(dataKey, salt, sealContext(kind, repositoryId));
      return { header: { salt, wrappedKey }, key };
    },
    close: () => void dataKey.fill(0),
  };
}

function newSalt(): Uint8Array {
  return new Uint8Array(randomBytes(NO_SEAL.salt.length));
}
