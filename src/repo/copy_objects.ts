/** Copies backups to another place of the same repository: objects byte for byte, none opened. */
import { type BackupMap, foldParents, nextMap } from "../core/backup_map.ts";
import { corruptObject } from "../core/corrupt.ts";
import { headKeyOf } from "../core/head.ts";
import { indexKey, type PackRef } from "../core/index_codec.ts";
import { KEY_PREFIX } from "../core/key_slot.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { packKey } from "../core/pack.ts";
import { sidecarPrefix } from "../core/sidecar_key.ts";
import { assert } from "../errors.ts";
import type { Store } from "../store/store.ts";
import {
  type CopiedParent,
  type CopyOutcome,
  type CopyRoute,
  type CopyWay,
  placeTaken,
} from "./copy_way.ts";
import { putMap } from "./maps.ts";
import { putOnce } from "./put_once.ts";
import { sha256Hex, sha256HexOfLarge } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";

/** Each takes up to 16 MiB. */
const COPIES_IN_FLIGHT = 4;

interface Route extends CopyRoute {
  /** Keys of packs and index objects that are there, and their sizes. */
  present: Map<string, number>;
}

export async function openObjectCopy(route: CopyRoute): Promise<CopyWay> {
  await copyKeys(route.from.store, route.to.store);
  const present = new Map<string, number>();
  for (const prefix of ["packs/", "indexes/"]) {
    for await (const { key, sizeBytes } of route.to.store.list(prefix)) present.set(key, sizeBytes);
  }
  return {
    isCopy: (there, stored) => there.sha256 === stored.sha256,
    copy: (chain, parent) => copyOne({ ...route, present }, chain, parent),
    leaveHead: ({ key }) => copyHead(route, headKeyOf(key)),
  };
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
  parent: CopiedParent | undefined,
): Promise<CopyOutcome> {
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const { store } = route.to;
  const versions = await newestVersions(store, sidecarPrefix("maps", last.key));
  const map = mapFor(chain, parent, 1 + (versions.get(last.key) ?? 0));
  let bytesCopied = 0;
  for (const index of map?.indexes ?? last.manifest.indexes) {
    const packs = await route.from.indexes.packs(last.manifest, index);
    const copy = ({ name, sizeBytes }: PackRef) => copyObject(route, packKey(name), sizeBytes);
    for await (const bytes of mapInOrder(packs, COPIES_IN_FLIGHT, copy)) bytesCopied += bytes;
    bytesCopied += await copyObject(route, indexKey(index.name), index.sizeBytes);
  }
  await route.confirm?.();
  if (map !== undefined) await putMap(store, { stored: last, map, signer: route.signer });
  const bytes = await route.from.store.get(last.key, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) throw corruptObject(last.key, "it was removed while it was copied");
  const found = sha256Hex(bytes);
  if (found !== last.sha256) throw corruptObject(last.key, `its SHA-256 is ${found} now`);
  if (!(await putOnce(store, last.key, bytes))) throw placeTaken(route.to, last.manifest.backupId);
  return { stored: last, bytesCopied: bytesCopied + bytes.length };
}

async function copyHead({ from, to }: CopyRoute, key: string): Promise<void> {
  const bytes = await from.store.get(key, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes !== undefined) await putOnce(to.store, key, bytes);
}

/**
 * What the copy has to say of its parent and its index objects; undefined: what its manifest says.
 *
 * @param version Above 1 when a copy that broke off, or one that was removed, has left a map.
 */
function mapFor(
  chain: readonly StoredManifest[],
  parent: CopiedParent | undefined,
  version: number,
): BackupMap | undefined {
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const [oldest, ...others] = chain.slice((parent?.nth ?? -1) + 1, -1);
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
