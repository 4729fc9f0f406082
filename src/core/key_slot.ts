/**
 * A key document: the identity of one edition of the repository's keys, wrapped for one holder.
 *
 * Backups are sealed to the newest edition. Whoever is to read nothing more that is written loses
 * his documents, and a new edition is made for the others.
 */
import { z } from "zod";
import { corruptObject } from "./corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument, type Sha256Hex } from "./document.ts";

const KIND: DocumentKind = { name: "key", version: 1 };
const EDITION_DIGITS = 10;
const EDITION_MAX = 10 ** EDITION_DIGITS - 1;
const KEY = /^keys\/([0-9]{10})\/([0-9a-f]{16})$/;

/** Of all key documents. */
export const KEY_PREFIX = "keys/";

const recipient = z.string().regex(/^age1[02-9ac-hj-np-z]{58}$/, "is no age recipient");
const slotSchema = z.strictObject({
  repositoryId: z.uuid(),
  /** From 1 on. */
  edition: z.int().min(1).max(EDITION_MAX),
  /** Random; of one holder in all editions. */
  slotId: z.string().regex(/^[0-9a-f]{16}$/, "is no slot id"),
  /** Public key of the holder. */
  recipient,
  /** For people. */
  label: z.string().max(200),
  createdAt: z.iso.datetime({ precision: 3 }),
  /** Public key of this edition: backups are sealed to it. */
  repositoryRecipient: recipient,
  /** An age file for `recipient`, base64: the identity of this edition, as text. */
  wrapped: z.base64().min(1),
  /**
   * For a holder who has a passphrase instead of an identity: an age file for that passphrase,
   * base64, of the identity that belongs to `recipient`, as text.
   */
  passphraseIdentity: z.base64().min(1).nullable(),
});

export type KeySlot = z.infer<typeof slotSchema>;

export function keySlotKey({ edition, slotId }: Pick<KeySlot, "edition" | "slotId">): string {
  return `${KEY_PREFIX}${String(edition).padStart(EDITION_DIGITS, "0")}/${slotId}`;
}

/** @returns Undefined for a key of something else. */
export function parseKeySlotKey(key: string): Pick<KeySlot, "edition" | "slotId"> | undefined {
  const [, edition, slotId] = KEY.exec(key) ?? [];
  if (edition === undefined || slotId === undefined) return undefined;
  return { edition: Number(edition), slotId };
}

/** @throws Error when it breaks a rule, which is a bug. */
export function encodeKeySlot(slot: KeySlot, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, slotSchema.parse(slot), sha256);
}

/**
 * @param stored `object`: its key. The document has to belong there.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeKeySlot(
  stored: { object: string; bytes: Uint8Array },
  sha256: Sha256Hex,
): KeySlot {
  const parsed = slotSchema.safeParse(decodeDocument(KIND, stored, sha256));
  if (!parsed.success) {
    throw corruptObject(stored.object, z.prettifyError(parsed.error).replaceAll("\n", " "));
  }
  const key = keySlotKey(parsed.data);
  if (stored.object !== key) throw corruptObject(stored.object, `it is the document of "${key}"`);
  return parsed.data;
}

/** Whether a text is a public key that keys can be wrapped for. */
export function isRecipient(text: string): boolean {
  return recipient.safeParse(text).success;
}
