import { parseSidecarKey } from "../core/sidecar_key.ts";
import type { Store } from "../store/store.ts";

/**
 * The newest version of each document of a folder.
 *
 * @param prefix "maps/", "notes/", or of one disk: "maps/<tag>/".
 * @returns By the key of the manifest that it belongs to; the manifest may be gone.
 */
export async function newestVersions(store: Store, prefix: string): Promise<Map<string, number>> {
  const versions = new Map<string, number>();
  for await (const { key } of store.list(prefix)) {
    const place = parseSidecarKey(key);
    // Keys come in ascending order: the last one is the newest.
    if (place) versions.set(place.manifestKey, place.version);
  }
  return versions;
}
