/** Makes a repository. */
import { isRecipient } from "../core/key_slot.ts";
import { badRecipient } from "../keys/key_ring.ts";
import { createRepository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import { makeKeys, type Newcomer, remember } from "./keys.ts";
import { findKeys } from "./repository_keys.ts";

export interface InitResult {
  repositoryId: string;
  url: string;
  encryption: "none" | "age";
  /** Public key that backups are sealed to; null without encryption. */
  recipient: string | null;
}

/**
 * @param holders Who will be able to open it. None: it is not encrypted.
 * @throws IbackupError REPOSITORY_EXISTS, USAGE for a bad recipient, and those of the store.
 */
export async function initRepository(
  context: JobContext,
  holders: readonly Newcomer[],
): Promise<InitResult> {
  for (const holder of holders) {
    if ("recipient" in holder && !isRecipient(holder.recipient)) {
      throw badRecipient(holder.recipient);
    }
  }
  const store = await context.openStore();
  const id = uuidOf(context.random(16));
  // Keys first: a repository never is without those that open it. Until then they belong to nothing.
  const recipient = holders.length > 0 ? await makeKeys(context, id, holders) : undefined;
  const facts = { id, createdAt: context.clock.now(), recipient };
  await createRepository(store, facts, findKeys(context));
  if (recipient !== undefined) remember(context, id, recipient);
  const encryption = recipient === undefined ? "none" : "age";
  return { repositoryId: id, url: store.url, encryption, recipient: recipient ?? null };
}

/** A UUID of version 4 (RFC 9562). */
function uuidOf(random: Uint8Array): string {
  const bytes = Uint8Array.from(random);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
