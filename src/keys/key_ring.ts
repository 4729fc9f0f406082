/** The keys of a repository: who holds them, and what backups are sealed to. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { corruptObject } from "../core/corrupt.ts";
import {
  decodeKeySlot,
  encodeKeySlot,
  KEY_PREFIX,
  type KeySlot,
  keySlotKey,
  parseKeySlotKey,
} from "../core/key_slot.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import { IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { pairOf, unwrapByPassphrase, unwrapWith, wrapFor } from "./age.ts";
import type { Secrets } from "./secret_files.ts";

/** All key documents of a repository, as they were a moment ago. */
export interface KeyRing {
  repositoryId: string;
  /** Those that can be read, by edition. */
  slots: readonly KeySlot[];
  /** Those that cannot. */
  damaged: readonly IbackupError[];
  /** Of the documents that cannot be read too. 0: there is none. */
  newestEdition: number;
}

/** Somebody who can open the repository: what all documents of one slot have in common. */
export type Holder = Pick<
  KeySlot,
  "slotId" | "recipient" | "label" | "createdAt" | "passphraseIdentity"
>;

/** A edition's identity, and its number. */
export interface Unlocked {
  edition: number;
  repositoryRecipient: string;
  identity: string;
}

/** @throws What the store throws. Documents of another repository do not count. */
export async function readKeyRing(store: Store, repositoryId: string): Promise<KeyRing> {
  const slots: KeySlot[] = [];
  const damaged: IbackupError[] = [];
  let newestEdition = 0;
  for await (const { key: object } of store.list(KEY_PREFIX)) {
    const place = parseKeySlotKey(object);
    if (place === undefined) continue;
    const bytes = await store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
    // Removed a moment ago.
    if (bytes === undefined) continue;
    try {
      const slot = decodeKeySlot({ object, bytes }, sha256Hex);
      if (slot.repositoryId !== repositoryId) continue;
      slots.push(slot);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      damaged.push(error);
    }
    newestEdition = Math.max(newestEdition, place.edition);
  }
  return { repositoryId, slots, damaged, newestEdition };
}

/**
 * What backups are sealed to.
 *
 * @throws IbackupError CORRUPT_DATA: there is no such key, or more than one.
 */
export function newestRecipient({ slots, damaged, newestEdition }: KeyRing): string {
  const newest = slots.filter(({ edition }) => edition === newestEdition);
  const [recipient, ...others] = new Set(newest.map((slot) => slot.repositoryRecipient));
  if (recipient === undefined) {
    // An older one may be that of somebody who was shut out.
    throw damaged[0] ?? corruptObject(KEY_PREFIX, "the repository has no keys");
  }
  if (others.length === 0) return recipient;
  throw corruptObject(KEY_PREFIX, `edition ${newestEdition} has several public keys`);
}

export function holdersOf({ slots }: KeyRing): Holder[] {
  const holders = new Map<string, Holder>();
  for (const { slotId, recipient, label, createdAt, passphraseIdentity } of slots) {
    if (holders.has(slotId)) continue;
    holders.set(slotId, { slotId, recipient, label, createdAt, passphraseIdentity });
  }
  return [...holders.values()];
}

/**
 * The identities of all editions that somebody can open.
 *
 * @returns `holder`: whose secret it is.
 * @throws IbackupError NO_KEY when nothing opens.
 */
export async function unlock(
  ring: KeyRing,
  secrets: Secrets,
): Promise<{ holder: Holder; unlocked: Unlocked[] }> {
  for (const holder of holdersOf(ring)) {
    const identity = await identityOf(holder, secrets);
    if (identity === undefined) continue;
    const own = ring.slots.filter(({ slotId }) => slotId === holder.slotId);
    const unlocked = await Promise.all(own.map((slot) => openSlot(slot, identity)));
    return { holder, unlocked };
  }
  throw noKey(secrets);
}

async function identityOf(holder: Holder, secrets: Secrets): Promise<string | undefined> {
  for (const identity of secrets.identities) {
    const pair = await pairOf(identity);
    if (pair?.recipient === holder.recipient) return identity;
  }
  if (holder.passphraseIdentity === null) return undefined;
  const file = fromBase64(holder.passphraseIdentity);
  for (const passphrase of secrets.passphrases) {
    const identity = await unwrapByPassphrase(passphrase, file);
    if (identity !== undefined) return new TextDecoder().decode(identity);
  }
  return undefined;
}

async function openSlot(slot: KeySlot, holderIdentity: string): Promise<Unlocked> {
  const opened = await unwrapWith([holderIdentity], fromBase64(slot.wrapped));
  const identity = opened && new TextDecoder().decode(opened);
  const pair = identity === undefined ? undefined : await pairOf(identity);
  const { edition, repositoryRecipient } = slot;
  if (pair?.recipient !== repositoryRecipient) {
    throw corruptObject(keySlotKey(slot), "it does not hold the identity that it says");
  }
  return { edition, repositoryRecipient, identity: pair.identity };
}

/**
 * Wraps the identity of an edition for a holder, and stores it.
 *
 * @throws IbackupError USAGE when the holder's public key is none; what the store throws.
 */
export async function putSlot(
  store: Store,
  repositoryId: string,
  { holder, edition }: { holder: Holder; edition: Unlocked },
): Promise<void> {
  const wrapped = await wrapFor(holder.recipient, edition.identity);
  if (wrapped === undefined) throw badRecipient(holder.recipient);
  const { identity: _, ...facts } = edition;
  const slot: KeySlot = { repositoryId, ...facts, ...holder, wrapped: toBase64(wrapped) };
  await store.putIfAbsent(keySlotKey(slot), encodeKeySlot(slot, sha256Hex));
}

export function badRecipient(recipient: string): IbackupError {
  return new IbackupError("USAGE", `Cannot use "${recipient}" as a recipient`, {
    why: "it is not the public key of an age X25519 identity",
    fix: "`age-keygen` makes an identity and prints its public key, age1...",
  });
}

function noKey({ identities, passphrases }: Secrets): IbackupError {
  const isGiven = identities.length + passphrases.length > 0;
  return new IbackupError("NO_KEY", "Cannot open what is sealed in the repository", {
    why: isGiven
      ? "what was given is the secret of no holder of its keys"
      : "no identity was given",
    fix: isGiven
      ? "`ibackup key list` shows whose secrets open it"
      : "add --identity-file FILE or --passphrase-file FILE (or IBACKUP_IDENTITY_FILE, IBACKUP_PASSPHRASE_FILE)",
  });
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
