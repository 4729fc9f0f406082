/**
 * Copies backups into a repository that is the same one elsewhere: the same id, the same keys. Objects
 * go over byte for byte, each checked against its name; nothing is opened.
 *
 * What is there already is not sent again, so that whatever broke off goes on where it was.
 */
import { type BackupMap, encodeMap, foldParents, nextMap } from "../core/backup_map.ts";
import { chainOf } from "../core/chain.ts";
import { corruptObject } from "../core/corrupt.ts";
import { indexKey, type PackRef } from "../core/index_codec.ts";
import { KEY_PREFIX } from "../core/key_slot.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { packKey } from "../core/pack.ts";
import { sidecarKey, sidecarPrefix } from "../core/sidecar_key.ts";
import { assert, IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { changeNote, readNotes } from "./notes.ts";
import { putOnce } from "./put_once.ts";
import type { Repository } from "./repository.ts";
import { sha256Hex, sha256HexOfLarge } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";

/** Each takes up to 16 MiB. */
const COPIES_IN_FLIGHT = 4;

export interface CopyOptions {
  /** Called before a backup is committed; throws where its objects may be gone again. */
  confirm?: (() => Promise<void>) | undefined;
  signal?: AbortSignal | undefined;
  /** Told of each backup that is there now, and of what went over for it. */
  onCopied?: ((copied: CopiedBackup) => void) | undefined;
}

export interface CopiedBackup {
  backupId: string;
  /** False: it was there already. */
  isNew: boolean;
  bytesCopied: number;
}

/** A repository and the store that its backups go to. */
interface Route {
  from: Repository;
  to: Repository;
  /** Keys of packs and index objects that are there, and their sizes. */
  present: Map<string, number>;
  confirm: CopyOptions["confirm"];
}

/**
 * @param wanted Backups of `from`, in the order of `Repository.manifests`. Of a backup whose parent is
 *   neither wanted nor there, the copy takes over what the parent holds.
 * @throws IbackupError CORRUPT_DATA for an object that is missing or damaged; STORE_FULL and so on.
 */
export async function copyBackups(
  { from, to }: { from: Repository; to: Repository },
  wanted: readonly StoredManifest[],
  options: CopyOptions = {},
): Promise<void> {
  await copyKeys(from.store, to.store);
  const present = new Map<string, number>();
  for (const prefix of ["packs/", "indexes/"]) {
    for await (const { key, sizeBytes } of to.store.list(prefix)) present.set(key, sizeBytes);
  }
  const route = { from, to, present, confirm: options.confirm };
  const all = await from.manifests(() => undefined);
  const there = new Map((await to.manifests()).map((stored) => [stored.key, stored.sha256]));
  for (const stored of wanted) {
    options.signal?.throwIfAborted();
    const { key, sha256 } = stored;
    const { backupId } = stored.manifest;
    const isNew = !there.has(key);
    if (!isNew && there.get(key) !== sha256) throw placeTaken(to, backupId);
    const bytesCopied = isNew ? await copyOne(route, chainOf(all, backupId), there) : 0;
    there.set(key, sha256);
    await copyNote(route, stored);
    options.onCopied?.({ backupId, isNew, bytesCopied });
  }
}

/** Who can open backups here can there; that somebody was shut out meanwhile, the newest edition says. */
async function copyKeys(from: Store, to: Store): Promise<void> {
  const there = new Set<string>();
  for await (const { key } of to.list(KEY_PREFIX)) there.add(key);
  for await (const { key } of from.list(KEY_PREFIX)) {
    if (there.has(key)) continue;
    const bytes = await from.get(key, { maxBytes: DOCUMENT_BYTES_MAX });
    if (bytes !== undefined) await putOnce(to, key, bytes);
  }
}

/** Objects first, then its map, then its manifest: with that it is there, and whole. */
async function copyOne(
  route: Route,
  chain: readonly StoredManifest[],
  there: ReadonlyMap<string, string>,
): Promise<number> {
  const last = chain.at(-1);
  if (last === undefined) return 0;
  const { store } = route.to;
  const versions = await newestVersions(store, sidecarPrefix("maps", last.key));
  const map = mapFor(chain, { there, version: 1 + (versions.get(last.key) ?? 0) });
  let bytesCopied = 0;
  const listed = map?.indexes ?? last.manifest.indexes;
  for (const index of listed) {
    const packs = await route.from.indexes.packs(last.manifest, index);
    const copy = ({ name, sizeBytes }: PackRef) => copyObject(route, packKey(name), sizeBytes);
    for await (const bytes of mapInOrder(packs, COPIES_IN_FLIGHT, copy)) bytesCopied += bytes;
    bytesCopied += await copyObject(route, indexKey(index.name), index.sizeBytes);
  }
  await route.confirm?.();
  if (map !== undefined) {
    const object = sidecarKey({ folder: "maps", manifestKey: last.key, version: map.version });
    await putOnce(store, object, encodeMap(map, sha256Hex));
  }
  const bytes = await route.from.store.get(last.key, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) throw corruptObject(last.key, "it was removed while it was copied");
  await putOnce(store, last.key, bytes);
  return bytesCopied + bytes.length;
}

/**
 * What the copy has to say of its parent and its index objects; undefined: what its manifest says.
 *
 * @param given `version`: above 1 when a copy that broke off, or one that was removed, has left a map.
 */
function mapFor(
  chain: readonly StoredManifest[],
  given: { there: ReadonlyMap<string, string>; version: number },
): BackupMap | undefined {
  const { there, version } = given;
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const parents = chain.slice(0, -1);
  const lastThere = parents.findLastIndex(({ key, sha256 }) => there.get(key) === sha256);
  const [oldest, ...others] = parents.slice(lastThere + 1);
  if (oldest === undefined && last.map === undefined && version === 1) return undefined;
  const map = oldest === undefined ? nextMap(last) : foldParents(last, [oldest, ...others]);
  return { ...map, version, removing: false };
}

/** @returns Bytes that went over. */
async function copyObject(
  { from, to, present }: Route,
  key: string,
  sizeBytes: number,
): Promise<number> {
  if (present.get(key) === sizeBytes) return 0;
  const bytes = await from.store.get(key, { maxBytes: sizeBytes });
  if (bytes === undefined) throw corruptObject(key, "it is missing");
  const found = await sha256HexOfLarge(bytes);
  if (!key.endsWith(found)) throw corruptObject(key, `its SHA-256 is ${found}`);
  await to.store.put(key, bytes);
  present.set(key, bytes.length);
  return bytes.length;
}

/** What is said of it where it comes from is said of the copy as well. */
async function copyNote({ from, to }: Route, stored: StoredManifest): Promise<void> {
  const notes = await readNotes(from.store, [stored], () => undefined);
  const remarks = notes.get(stored.key);
  if (remarks === undefined) return;
  await changeNote(to.store, stored, (before) => ({
    tags: [...new Set([...before.tags, ...remarks.tags])].sort(),
    isProtected: before.isProtected || remarks.isProtected,
  }));
}

function placeTaken({ store }: Repository, backupId: string): IbackupError {
  return new IbackupError("REPOSITORY_EXISTS", `Cannot copy the backup ${backupId}`, {
    why: `another backup has its place in ${store.url}: backups were taken into both`,
    fix: "copy to an empty place",
  });
}
