/**
 * Copies backups into a repository that is the same one elsewhere: the same id, the same keys. Objects
 * go over byte for byte, each checked against its name; nothing is opened.
 *
 * What is there already is not sent again, so that whatever broke off goes on where it was.
 */
import { type BackupMap, encodeMap, foldParents, nextMap } from "../core/backup_map.ts";
import { chainOf } from "../core/chain.ts";
import { corruptObject } from "../core/corrupt.ts";
import { indexKey } from "../core/index_codec.ts";
import { DOCUMENT_BYTES_MAX, INDEX_BYTES_MAX, PACK_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { packKey } from "../core/pack.ts";
import { sidecarKey, sidecarPrefix } from "../core/sidecar_key.ts";
import { assert } from "../errors.ts";
import { changeNote, readNotes } from "./notes.ts";
import { putOnce } from "./put_once.ts";
import type { Repository } from "./repository.ts";
import { sha256Hex, sha256HexOfLarge } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";

/** Each takes up to 16 MiB. */
const COPIES_IN_FLIGHT = 4;

export interface CopyOptions {
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
  /** Keys of packs and index objects that are there. */
  present: Set<string>;
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
  const present = new Set<string>();
  for (const prefix of ["packs/", "indexes/"]) {
    for await (const { key } of to.store.list(prefix)) present.add(key);
  }
  const route = { from, to, present };
  const all = await from.manifests(() => undefined);
  const there = new Map((await to.manifests()).map((stored) => [stored.key, stored.sha256]));
  for (const { manifest, key } of wanted) {
    options.signal?.throwIfAborted();
    const { backupId } = manifest;
    const isNew = !there.has(key);
    const bytesCopied = isNew ? await copyOne(route, chainOf(all, backupId), there) : 0;
    const stored = all.find((one) => one.key === key);
    if (stored) {
      there.set(key, stored.sha256);
      await copyNote(route, stored);
    }
    options.onCopied?.({ backupId, isNew, bytesCopied });
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
    const copy = ({ name }: { name: string }) => copyObject(route, packKey(name), PACK_BYTES_MAX);
    for await (const bytes of mapInOrder(packs, COPIES_IN_FLIGHT, copy)) bytesCopied += bytes;
    bytesCopied += await copyObject(route, indexKey(index.name), INDEX_BYTES_MAX);
  }
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
  maxBytes: number,
): Promise<number> {
  if (present.has(key)) return 0;
  const bytes = await from.store.get(key, { maxBytes });
  if (bytes === undefined) throw corruptObject(key, "it is missing");
  const found = await sha256HexOfLarge(bytes);
  if (!key.endsWith(found)) throw corruptObject(key, `its SHA-256 is ${found}`);
  await to.store.put(key, bytes);
  present.add(key);
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
