/** Who can open the backups of a repository: shows, adds and removes them. */
import { writeFileSync } from "node:fs";
import { toHex } from "../core/hex.ts";
import { isRecipient, keySlotKey } from "../core/key_slot.ts";
import { IbackupError, messageOf } from "../errors.ts";
import { makePair, type Pair, wrapByPassphrase } from "../keys/age.ts";
import {
  badRecipient,
  type Holder,
  holdersOf,
  type KeyRing,
  newestRecipient,
  putSlot,
  readKeyRing,
  toBase64,
  type Unlocked,
  unlock,
} from "../keys/key_ring.ts";
import { readPassphrase, readSecrets, type SecretFiles } from "../keys/secret_files.ts";
import { recoverySheet } from "../keys/sheet.ts";
import { keepOutOfCoreFiles } from "../runtime/core_files.ts";
import type { JobContext } from "./context.ts";
import { trustRecipient } from "./trusted_recipient.ts";

export interface ListedHolder {
  slotId: string;
  holder: "x25519" | "passphrase";
  recipient: string;
  label: string;
  createdAt: string;
  /** Whether it opens what is written now. */
  opensNewest: boolean;
}

export interface KeyList {
  repositoryId: string;
  /** What backups are sealed to. */
  recipient: string;
  edition: number;
  holders: ListedHolder[];
}

export async function listKeys(context: JobContext): Promise<KeyList> {
  const ring = await openRing(context);
  const { repositoryId, newestEdition: edition } = ring;
  const newest = ring.slots.filter((slot) => slot.edition === edition);
  const holders = holdersOf(ring).map(({ passphraseIdentity, ...facts }) => ({
    ...facts,
    holder: passphraseIdentity === null ? ("x25519" as const) : ("passphrase" as const),
    opensNewest: newest.some(({ slotId }) => slotId === facts.slotId),
  }));
  return { repositoryId, recipient: newestRecipient(ring), edition, holders };
}

/** @throws IbackupError NO_KEY when none of the secrets opens the repository. */
export async function proveSecrets(context: JobContext): Promise<void> {
  await unlock(await openRing(context), readSecrets(context.secrets));
}

/** Somebody who is to open the repository: by a public key, or by a passphrase. */
export type Newcomer = { recipient: string } | { passphraseFile: string } | { passphrase: string };

/**
 * Lets one more open everything: what is there and what will be written.
 *
 * @param secrets Of somebody who can.
 * @throws IbackupError NO_KEY, USAGE, and those of the store.
 */
export async function addKey(
  context: JobContext,
  options: { newcomer: Newcomer; label: string; secrets: SecretFiles },
): Promise<Holder> {
  const ring = await openRing(context);
  const { unlocked } = await unlock(ring, readSecrets(options.secrets));
  const wanted = await newHolder(context, options.newcomer, options.label);
  const holder = holdersOf(ring).find(({ recipient }) => recipient === wanted.recipient) ?? wanted;
  await giveAll(context, ring, { unlocked, holders: [holder] });
  return holder;
}

export interface RemovedKey {
  slotId: string;
  /** What backups are sealed to from now on. */
  recipient: string;
  edition: number;
}

/**
 * Shuts one out of all that is written from now on. The new edition is there before he goes, and
 * whoever runs this has it first: a run that was cut short is made good by the next one.
 *
 * @throws IbackupError NO_KEY, USAGE for an unknown or the last one, and those of the store.
 */
export async function removeKey(context: JobContext, slotId: string): Promise<RemovedKey> {
  const ring = await openRing(context);
  const { unlocked, holder: caller } = await unlock(ring, readSecrets(context.secrets));
  const all = holdersOf(ring);
  if (!all.some((holder) => holder.slotId === slotId)) throw unknownSlot(slotId);
  const staying = all.filter((holder) => holder.slotId !== slotId);
  if (staying.length === 0) throw lastSlot(slotId);
  staying.sort((a, b) => Number(b.slotId === caller.slotId) - Number(a.slotId === caller.slotId));
  const edition = ring.newestEdition + 1;
  const { identity, recipient } = await makePair();
  const newest = { edition, repositoryRecipient: recipient, identity };
  await giveAll(context, ring, { unlocked: [newest, ...unlocked], holders: staying });
  const store = await context.openStore();
  await store.erase(ring.slots.filter((slot) => slot.slotId === slotId).map(keySlotKey));
  remember(context, ring.repositoryId, recipient);
  return { slotId, recipient, edition };
}

/**
 * One more holder, whose identity is on the sheet and nowhere else.
 *
 * @param out Where the sheet is written, a new file. Undefined: the caller prints it.
 */
export async function exportKey(
  context: JobContext,
  out: string | undefined,
): Promise<{ slotId: string; sheet: string }> {
  const ring = await openRing(context);
  const { unlocked } = await unlock(ring, readSecrets(context.secrets));
  const { recipient, identity } = await makePair();
  const createdAt = context.clock.now();
  const label = `recovery sheet of ${createdAt.toISOString().slice(0, 10)}`;
  const holder = await newHolder(context, { recipient }, label);
  const { slotId } = holder;
  const { url } = await context.openStore();
  const { repositoryId } = ring;
  const sheet = recoverySheet({ repositoryId, url, slotId, identity, createdAt });
  // First the sheet: a holder whose identity is nowhere would be of no use.
  if (out !== undefined) writeNew(out, sheet);
  await giveAll(context, ring, { unlocked, holders: [holder] });
  return { slotId, sheet };
}

function writeNew(path: string, text: string): void {
  try {
    writeFileSync(path, text, { flag: "wx", mode: 0o600, flush: true });
  } catch (error) {
    throw new IbackupError("IO", `Cannot write the recovery sheet to "${path}"`, {
      why: messageOf(error),
      fix: "name a file that does not exist, in a folder that does",
    });
  }
}

/** @throws IbackupError USAGE when the repository has another key. */
export async function trustKey(context: JobContext, recipient: string): Promise<void> {
  const ring = await openRing(context);
  const newest = newestRecipient(ring);
  if (recipient !== newest) {
    throw new IbackupError("USAGE", `Cannot trust ${recipient}`, {
      why: `the key of the repository is ${newest}`,
      fix: "name that one, if you have seen it by `ibackup key list` where you trust the machine",
    });
  }
  trustRecipient(context, ring.repositoryId, newest);
}

/** The documents of the first edition, and the key that backups are sealed to. */
export async function makeKeys(
  context: JobContext,
  repositoryId: string,
  newcomers: readonly Newcomer[],
): Promise<string> {
  keepOutOfCoreFiles();
  const { identity, recipient: repositoryRecipient } = await makePair();
  const store = await context.openStore();
  for (const newcomer of newcomers) {
    const holder = await newHolder(context, newcomer, "");
    const edition = { edition: 1, repositoryRecipient, identity };
    await putSlot(store, repositoryId, { holder, edition });
  }
  return repositoryRecipient;
}

/** It is no failure when this machine cannot: whoever writes from another remembers there. */
export function remember(context: JobContext, repositoryId: string, recipient: string): void {
  try {
    trustRecipient(context, repositoryId, recipient);
  } catch (error) {
    if (error instanceof IbackupError && error.code === "NOT_PERMITTED") return;
    throw error;
  }
}

async function openRing(context: JobContext): Promise<KeyRing> {
  keepOutOfCoreFiles();
  const repository = await context.openRepository();
  if (repository.isSealed) return await readKeyRing(repository.store, repository.id);
  throw new IbackupError("USAGE", `Cannot use the keys of ${repository.store.url}`, {
    why: "it has none: it was made with --no-encryption",
    fix: "make another repository with `ibackup init --recipient age1...`",
  });
}

/** Stores what is missing of these editions for these holders. */
async function giveAll(
  context: JobContext,
  ring: KeyRing,
  { unlocked, holders }: { unlocked: readonly Unlocked[]; holders: readonly Holder[] },
): Promise<void> {
  const store = await context.openStore();
  const present = new Set(ring.slots.map(keySlotKey));
  for (const holder of holders) {
    for (const edition of unlocked) {
      const key = keySlotKey({ edition: edition.edition, slotId: holder.slotId });
      if (!present.has(key)) await putSlot(store, ring.repositoryId, { holder, edition });
    }
  }
}

async function newHolder(
  { random, clock }: JobContext,
  newcomer: Newcomer,
  label: string,
): Promise<Holder> {
  const facts = { slotId: toHex(random(8)), label, createdAt: clock.now().toISOString() };
  if ("recipient" in newcomer) {
    const { recipient } = newcomer;
    if (!isRecipient(recipient)) throw badRecipient(recipient);
    return { ...facts, recipient, passphraseIdentity: null };
  }
  const passphrase =
    "passphrase" in newcomer ? newcomer.passphrase : readPassphrase(newcomer.passphraseFile);
  const { identity, recipient }: Pair = await makePair();
  const file = await wrapByPassphrase(passphrase, identity);
  return { ...facts, recipient, passphraseIdentity: toBase64(file) };
}

function unknownSlot(slotId: string): IbackupError {
  return new IbackupError("USAGE", `Cannot remove the key "${slotId}"`, {
    why: "the repository has no such slot",
    fix: "`ibackup key list` shows them",
  });
}

function lastSlot(slotId: string): IbackupError {
  return new IbackupError("USAGE", `Cannot remove the key "${slotId}"`, {
    why: "it is the last one: nobody could open any backup",
    fix: "add another one first: `ibackup key add`",
  });
}
