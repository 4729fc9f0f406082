import type { Manifest, ManifestIndex, StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { parseSidecarKey } from "../core/sidecar_key.ts";
import { IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { cannotTell } from "./damage.ts";
import { readMap } from "./maps.ts";
import type { Repository } from "./repository.ts";

const GETS_IN_FLIGHT = 16;

/** What the backups of a repository are made of, down to their index objects. */
export interface Reachable {
  backups: StoredManifest[];
  /** Each once, with a backup that it is of. */
  indexes: ReachableIndex[];
  indexNames: ReadonlySet<string>;
}

export interface ReachableIndex {
  manifest: Manifest;
  index: ManifestIndex;
  /** Only an older map names it: no backup is the worse for it when it is gone. */
  isOld: boolean;
}

/**
 * Older maps count as long as they are there: somebody may have read one a moment ago. But what they
 * name may be gone, as where a backup was removed and copied here once more.
 *
 * @throws IbackupError CORRUPT_DATA for a manifest or a map that cannot be read.
 */
export async function findReachable(repository: Repository): Promise<Reachable> {
  const { store } = repository;
  const backups = await repository.manifests(({ key, map, error }) => {
    throw error.code === "CORRUPT_DATA" ? cannotTell(map ?? key, error, "remove it") : error;
  });
  const byName = new Map<string, ReachableIndex>();
  for (const { manifest } of backups) {
    for (const index of manifest.indexes) byName.set(index.name, { manifest, index, isOld: false });
  }
  for await (const { manifest, indexes } of olderMaps(store, backups)) {
    for (const index of indexes) {
      if (!byName.has(index.name)) byName.set(index.name, { manifest, index, isOld: true });
    }
  }
  return { backups, indexes: [...byName.values()], indexNames: new Set(byName.keys()) };
}

/** The index objects of maps that newer ones have replaced, where the backup is still there. */
async function* olderMaps(
  store: Store,
  backups: readonly StoredManifest[],
): AsyncGenerator<{ manifest: Manifest; indexes: readonly ManifestIndex[] }> {
  const byKey = new Map(backups.map((stored) => [stored.key, stored]));
  const older: { object: string; manifest: Manifest }[] = [];
  for await (const { key: object } of store.list("maps/")) {
    const place = parseSidecarKey(object);
    const stored = place && byKey.get(place.manifestKey);
    if (stored && place.version !== stored.map?.version) {
      older.push({ object, manifest: stored.manifest });
    }
  }
  const read = async ({ object, manifest }: (typeof older)[number]) => {
    return { manifest, indexes: await readIndexes(store, object) };
  };
  yield* mapInOrder(older, GETS_IN_FLIGHT, read);
}

async function readIndexes(store: Store, object: string): Promise<readonly ManifestIndex[]> {
  try {
    return (await readMap(store, object))?.indexes ?? [];
  } catch (error) {
    if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return [];
    throw error;
  }
}
