/** Tells that a manifest was removed, by the head that it has left behind. */
import { corruptObject } from "../core/corrupt.ts";
import {
  decodeHead,
  encodeHead,
  HEAD_PREFIX,
  type Head,
  headKeyOf,
  manifestKeyOfHead,
  signedTextOf,
} from "../core/head.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import { mapInOrder } from "../core/ordered.ts";
import { IbackupError } from "../errors.ts";
import type { DamagedManifest } from "./manifest_list.ts";
import type { Repository } from "./repository.ts";
import { sha256Hex } from "./sha256.ts";
import { isSignatureGood, type Signer } from "./signature.ts";

const GETS_IN_FLIGHT = 16;

/** A repository. */
type Place = Pick<Repository, "store" | "id">;

export interface FoundBackups {
  /** Oldest first; a parent always before its children. */
  manifests: StoredManifest[];
  /** Those that cannot be read, were removed other than by prune, or are not what they were. */
  damaged: DamagedManifest[];
}

/**
 * All backups, and those that are missing.
 *
 * @param known Found a moment ago: not read again.
 */
export async function readBackups(
  repository: Repository,
  known: readonly StoredManifest[] = [],
): Promise<FoundBackups> {
  // Before the manifests: one that is committed in between has no head in this list.
  const heads = await listHeads(repository);
  const damaged: DamagedManifest[] = [];
  const manifests = await repository.manifests((one) => damaged.push(one), known);
  const present = new Set([...manifests, ...damaged].map(({ key }) => key));
  const suspects = heads.filter((key) => !present.has(manifestKeyOfHead(key)));
  const look = (key: string) => whatIsGone(repository, key);
  for await (const one of mapInOrder(suspects, GETS_IN_FLIGHT, look)) if (one) damaged.push(one);
  return { manifests, damaged };
}

/** Puts the head of a manifest. One that is there already is left as it is. */
export async function putHead(
  { store, id }: Place,
  { manifest, key, sha256 }: StoredManifest,
  signer: Signer | undefined,
): Promise<void> {
  const headKey = headKeyOf(key);
  const fields = { backupId: manifest.backupId, manifestSha256: sha256 };
  const signature = signer?.sign(signedTextOf(id, headKey, fields)) ?? null;
  const head = { ...fields, writer: signer?.publicKey ?? null, signature };
  await store.putIfAbsent(headKey, encodeHead(head, sha256Hex));
}

/** Keys of heads. */
export async function listHeads({ store }: Place): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(HEAD_PREFIX)) {
    if (parseManifestKey(manifestKeyOfHead(key)) !== undefined) keys.push(key);
  }
  return keys;
}

/** Looks again: prune removes the head, and then the manifest. */
async function whatIsGone(place: Place, headKey: string): Promise<DamagedManifest | undefined> {
  const key = manifestKeyOfHead(headKey);
  const head = await readHead(place, headKey);
  if (head === undefined) return undefined;
  const what = head instanceof IbackupError ? "it" : `the backup ${head.backupId}`;
  return { key, error: corruptObject(key, `${what} was removed, and not by prune`) };
}

/** Holds the heads of manifests against them. One without a head is fine: a crash came between. */
export async function checkHeads(
  place: Place,
  manifests: readonly StoredManifest[],
): Promise<DamagedManifest[]> {
  const heads = new Set(await listHeads(place));
  const withHead = manifests.filter(({ key }) => heads.has(headKeyOf(key)));
  const problems: DamagedManifest[] = [];
  const check = (stored: StoredManifest) => misfitOf(place, stored);
  for await (const one of mapInOrder(withHead, GETS_IN_FLIGHT, check)) if (one) problems.push(one);
  return problems;
}

async function misfitOf(
  place: Place,
  stored: StoredManifest,
): Promise<DamagedManifest | undefined> {
  const key = headKeyOf(stored.key);
  const head = await readHead(place, key);
  if (head === undefined) return undefined;
  if (head instanceof IbackupError) return { key, error: head };
  if (head.manifestSha256 === stored.sha256) return undefined;
  const why = `it is not the one that was committed: its head names another, of ${head.backupId}`;
  return { key: stored.key, error: corruptObject(stored.key, why) };
}

/** @returns Undefined when it is not there; the error when it is damaged. */
async function readHead(
  { store, id }: Place,
  headKey: string,
): Promise<Head | IbackupError | undefined> {
  const bytes = await store.get(headKey, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) return undefined;
  try {
    const head = decodeHead({ object: headKey, bytes }, sha256Hex);
    if (isSignatureGood(signedTextOf(id, headKey, head), head)) return head;
    return corruptObject(headKey, "its signature does not fit");
  } catch (error) {
    if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return error;
    throw error;
  }
}
