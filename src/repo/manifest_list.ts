/**
 * Reads the backups of a repository while others add and remove some.
 *
 * Manifests are listed before maps. Whoever removes a backup puts the maps of its children first:
 * where a backup is not listed any more, its children's maps are.
 */
import { applyMap } from "../core/backup_map.ts";
import { corruptObject } from "../core/corrupt.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import { bodyUpTo, decodeManifest, type StoredManifest } from "../core/manifest.ts";
import { MANIFEST_PREFIX, parseManifestKey } from "../core/manifest_key.ts";
import { mapInOrder } from "../core/ordered.ts";
import { sidecarKey } from "../core/sidecar_key.ts";
import { IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { readMap } from "./maps.ts";
import { sha256Hex } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";
import { isSignatureGood } from "./signature.ts";

const GETS_IN_FLIGHT = 16;
const DAMAGE_CODES: ReadonlySet<string> = new Set(["CORRUPT_DATA", "REPOSITORY_FORMAT"]);

/** A backup whose manifest or map is there but cannot be read; or is not there, and should be. */
export interface DamagedManifest {
  /** Of the manifest: says which disk's it is, and the how manieth. */
  key: string;
  /** Key of the map that is at fault; undefined when it is the manifest. */
  map?: string;
  error: IbackupError;
}

/** What of a repository is needed here. */
interface Sealable {
  store: Store;
  isSealed: boolean;
}

interface ManifestList {
  /** As their maps have them, in no order. */
  found: StoredManifest[];
  damaged: DamagedManifest[];
}

/** @param known Found before; not read again where nothing has changed. */
export async function readManifests(
  repository: Sealable,
  known: readonly StoredManifest[],
): Promise<ManifestList> {
  let missed = new Set<string>();
  for (let read = known; ; ) {
    const { found, damaged, gone } = await readOnce(repository, read);
    // Listed and not to be had, again: not removed meanwhile, but lost.
    const lost = gone.filter((key) => missed.has(key));
    for (const key of lost) damaged.push({ key, error: lostObject(key) });
    if (lost.length === gone.length) return { found, damaged };
    missed = new Set(gone);
    read = found;
  }
}

async function readOnce(
  repository: Sealable,
  known: readonly StoredManifest[],
): Promise<ManifestList & { gone: string[] }> {
  const result = { found: [], damaged: [], gone: [] } as ManifestList & { gone: string[] };
  const byKey = new Map(known.map((stored) => [stored.key, stored]));
  const keys = await manifestKeys(repository.store);
  const versions = await newestVersions(repository.store, "maps/");
  const work = async (key: string) => {
    const version = versions.get(key) ?? 0;
    const before = byKey.get(key);
    if (before && (before.map?.version ?? 0) === version) return before;
    return (await tryManifest(repository, key, version)) ?? key;
  };
  for await (const one of mapInOrder(keys, GETS_IN_FLIGHT, work)) {
    if (typeof one === "string") result.gone.push(one);
    else if ("manifest" in one) result.found.push(one);
    else result.damaged.push(one);
  }
  return result;
}

async function manifestKeys(store: Store): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(MANIFEST_PREFIX)) {
    if (parseManifestKey(key) !== undefined) keys.push(key);
  }
  return keys;
}

/**
 * @param version Of its map; 0 when it has none.
 * @returns Undefined when it, or its map, is not there. That it cannot be read is an answer, that the
 *   store cannot be reached is not.
 */
export async function tryManifest(
  repository: Sealable,
  key: string,
  version = 0,
): Promise<StoredManifest | DamagedManifest | undefined> {
  const stored = await orDamage(() => readManifest(repository, key));
  if (stored instanceof IbackupError) return { key, error: stored };
  if (stored === undefined || version === 0) return stored;
  const object = sidecarKey({ folder: "maps", manifestKey: key, version });
  const mapped = await orDamage(async () => {
    const map = await readMap(repository.store, object);
    return map && applyMap(stored, { object, map });
  });
  return mapped instanceof IbackupError ? { key, map: object, error: mapped } : mapped;
}

async function orDamage<T>(read: () => Promise<T>): Promise<T | IbackupError> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof IbackupError && DAMAGE_CODES.has(error.code)) return error;
    throw error;
  }
}

/** As it was committed, whatever its map says. */
export async function readManifest(
  { store, isSealed }: Sealable,
  key: string,
): Promise<StoredManifest | undefined> {
  const bytes = await store.get(key, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) return undefined;
  const manifest = decodeManifest({ object: key, bytes }, sha256Hex);
  if ((manifest.seal !== null) !== isSealed) {
    const [is, isNot] = isSealed ? ["clear", "sealed"] : ["sealed", "clear"];
    throw corruptObject(key, `it is ${is}, and the repository is ${isNot}`);
  }
  if (!isSignatureGood(bodyUpTo("signature", manifest), manifest)) {
    throw corruptObject(key, "its signature does not fit");
  }
  return { manifest, key, sha256: sha256Hex(bytes) };
}

function lostObject(key: string): IbackupError {
  return corruptObject(key, "it is listed but cannot be got");
}
