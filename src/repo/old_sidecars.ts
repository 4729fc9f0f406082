import { parseManifestKey } from "../core/manifest_key.ts";
import { parseSidecarKey, type SidecarPlace } from "../core/sidecar_key.ts";
import type { Store, StoredObject } from "../store/store.ts";
import type { Reachable } from "./reachable.ts";

/**
 * Maps and notes that nobody needs: those of backups that are gone, and those that newer ones have
 * replaced for long enough.
 *
 * One map of a removed backup stays while no backup of its disk is newer: it keeps the sequence from
 * being given again.
 */
export async function* oldSidecars(
  store: Store,
  { reachable, cutoffMs }: { reachable: Reachable; cutoffMs: number },
): AsyncGenerator<StoredObject> {
  const [maps, notes] = [await listSidecars(store, "maps/"), await listSidecars(store, "notes/")];
  const present = new Set(reachable.backups.map(({ key }) => key));
  /** By disk: the highest key of a manifest, there or not. */
  const highest = new Map<string, string>();
  for (const key of [...present, ...maps.map(({ place }) => place.manifestKey)]) {
    const tag = tagOf(key);
    if ((highest.get(tag) ?? "") < key) highest.set(tag, key);
  }
  const isNeeded = ({ manifestKey: key, folder }: SidecarPlace): boolean =>
    present.has(key) || (folder === "maps" && highest.get(tagOf(key)) === key);
  for (const all of [maps, notes]) yield* old(all, isNeeded, cutoffMs);
}

interface Sidecar {
  object: StoredObject;
  place: SidecarPlace;
}

function* old(
  all: readonly Sidecar[],
  isNeeded: (place: SidecarPlace) => boolean,
  cutoffMs: number,
): Generator<StoredObject> {
  for (const [index, { object, place }] of all.entries()) {
    const next = all[index + 1];
    const isReplaced = next?.place.manifestKey === place.manifestKey;
    // Somebody may have read it just before the next one came.
    const isRead = isReplaced && next.object.storedAtMs >= cutoffMs;
    if (isReplaced ? !isRead : !isNeeded(place)) yield object;
  }
}

async function listSidecars(store: Store, folder: string): Promise<Sidecar[]> {
  const all: Sidecar[] = [];
  for await (const object of store.list(folder)) {
    const place = parseSidecarKey(object.key);
    if (place) all.push({ object, place });
  }
  return all;
}

function tagOf(key: string): string {
  return parseManifestKey(key)?.diskTag ?? "";
}
