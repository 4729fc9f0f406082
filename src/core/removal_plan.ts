/**
 * How backups of chains are removed.
 *
 * In three steps, each of which leaves a repository in which every backup can be restored:
 *
 * 1. close: a map of each that goes says so. From then on nobody else changes it.
 * 2. fold: each backup whose parent goes gets a map with what its parents held.
 * 3. remove: the manifests of those that go, children before their parents.
 *
 * Whoever finds a backup closed carries its removal on: the one who began may have died. When a map
 * cannot be put because another one has put one, all is read and planned anew.
 */
import { type BackupMap, foldParents, nextMap } from "./backup_map.ts";
import type { StoredManifest } from "./manifest.ts";

/** A map to put. */
export interface MapChange {
  stored: StoredManifest;
  map: BackupMap;
}

export interface RemovalPlan {
  /** All are done before the first fold. */
  close: MapChange[];
  /** All are done before the first removal. */
  fold: MapChange[];
  /** In this order. */
  remove: StoredManifest[];
}

/**
 * @param present All backups, in the order of `inChainOrder`.
 * @param wanted Ids of those that are to go. Those that are closed go too.
 * @param gone As they were, those that were removed a moment ago: a backup may have come meanwhile
 *   that continues one of them.
 */
export function planRemoval(
  present: readonly StoredManifest[],
  wanted: ReadonlySet<string>,
  gone: readonly StoredManifest[] = [],
): RemovalPlan {
  const isGoing = ({ manifest, map }: StoredManifest): boolean =>
    wanted.has(manifest.backupId) || map?.removing === true;
  const going = present.filter(isGoing);
  const byId = new Map([...gone, ...going].map((stored) => [stored.manifest.backupId, stored]));
  const close = going
    .filter(({ map }) => map?.removing !== true)
    .map((stored) => ({ stored, map: { ...nextMap(stored), removing: true } }));
  const fold = present
    .filter((stored) => !isGoing(stored))
    .flatMap((stored): MapChange[] => {
      const [last, ...others] = parentsAmong(stored, byId);
      if (last === undefined) return [];
      const [oldest = last, ...rest] = [last, ...others].reverse();
      return [{ stored, map: foldParents(stored, [oldest, ...rest]) }];
    });
  return { close, fold, remove: going.toReversed() };
}

/** The parent of a backup, the parent of that one and so on, as long as they are among `byId`. */
function parentsAmong(
  { manifest }: StoredManifest,
  byId: ReadonlyMap<string, StoredManifest>,
): StoredManifest[] {
  const parents: StoredManifest[] = [];
  let { parentId } = manifest;
  for (let next = byId.get(parentId ?? ""); next; next = byId.get(parentId ?? "")) {
    parents.push(next);
    parentId = next.manifest.parentId;
  }
  return parents;
}
