/** Carries out what core/removal_plan.ts plans: takes backups out of chains. */
import { synthesizeBase } from "../core/backup_map.ts";
import { chainOf } from "../core/chain.ts";
import { headKeyOf } from "../core/head.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import { mapInOrder } from "../core/ordered.ts";
import { type MapChange, planRemoval } from "../core/removal_plan.ts";
import type { LockedObject } from "../store/store.ts";
import { cannotTell } from "./damage.ts";
import type { DamagedManifest } from "./manifest_list.ts";
import { putMap } from "./maps.ts";
import type { Repository } from "./repository.ts";
import type { FindSigner } from "./signature.ts";

const PUTS_IN_FLIGHT = 8;

export interface RemovalOptions {
  /** Of the maps. */
  signer?: FindSigner | undefined;
  signal?: AbortSignal | undefined;
}

/** What came of it. */
export interface Removal {
  /** Those that are gone; also those whose removal another one had begun. */
  removed: StoredManifest[];
  /** Those whose manifests the store does not let go yet. A later removal carries on. */
  locked: { stored: StoredManifest; until: Date | undefined }[];
}

/**
 * Removes backups. Those that build on them can be restored as before, at every moment.
 *
 * What another one began and did not end is ended too. The data stay: gc removes what nothing
 * reaches any more.
 *
 * @param wanted Ids. One that is not there is fine.
 * @throws IbackupError CORRUPT_DATA when a backup of the same disk cannot be read: it may build on
 *   one that goes.
 */
export async function removeBackups(
  repository: Repository,
  wanted: ReadonlySet<string>,
  options: RemovalOptions = {},
): Promise<Removal> {
  const removed: StoredManifest[] = [];
  let locked: Removal["locked"] = [];
  let present: StoredManifest[] = [];
  for (;;) {
    options.signal?.throwIfAborted();
    const damaged: DamagedManifest[] = [];
    present = await repository.manifests((one) => damaged.push(one), present);
    const { close, fold, remove } = planRemoval(present, wanted, removed);
    throwIfAmong(damaged, [...remove, ...fold.map(({ stored }) => stored)]);
    const isStuck = remove.every(({ key }) => locked.some(({ stored }) => stored.key === key));
    if (close.length + fold.length === 0 && isStuck) return { removed, locked };
    if (!(await putMaps(repository, close, options))) continue;
    if (!(await putMaps(repository, fold, options))) continue;
    locked = await removeManifests(repository, remove, options);
    removed.push(...remove.filter((one) => !locked.some(({ stored }) => stored === one)));
  }
}

/**
 * Makes a backup a base: its map names what its whole chain is made of. No data move.
 *
 * @returns False when it was a base already.
 * @throws IbackupError BACKUP_UNKNOWN; CORRUPT_DATA when its chain is broken.
 */
export async function rebaseBackup(
  repository: Repository,
  backupId: string,
  signer?: FindSigner,
): Promise<boolean> {
  for (;;) {
    const chain = chainOf(await repository.manifests(() => undefined), backupId);
    const stored = chain.at(-1);
    if (stored === undefined || stored.manifest.type === "base") return false;
    // Nobody changes what is being removed.
    if (stored.map?.removing === true) return false;
    const map = synthesizeBase(chain);
    if (await putMap(repository.store, { stored, map, signer })) return true;
  }
}

function throwIfAmong(
  damaged: readonly DamagedManifest[],
  changed: readonly StoredManifest[],
): void {
  const tags = new Set(changed.map(({ key }) => parseManifestKey(key)?.diskTag));
  const first = damaged.find(({ key }) => tags.has(parseManifestKey(key)?.diskTag));
  if (first === undefined) return;
  const { key, map, error } = first;
  throw error.code === "CORRUPT_DATA" ? cannotTell(map ?? key, error, "remove it") : error;
}

/** @returns False when another one has put one of them: then things are not as they were read. */
async function putMaps(
  { store }: Repository,
  changes: readonly MapChange[],
  { signer, signal }: RemovalOptions,
): Promise<boolean> {
  const put = async (change: MapChange) => {
    signal?.throwIfAborted();
    return await putMap(store, { ...change, signer });
  };
  let all = true;
  for await (const done of mapInOrder(changes, PUTS_IN_FLIGHT, put)) all &&= done;
  return all;
}

/**
 * Children before their parents, wherever it breaks off; and no parent of one that must stay.
 *
 * @returns Those that the store does not let go, and those that have to stay with them.
 */
async function removeManifests(
  { store }: Repository,
  removals: readonly StoredManifest[],
  { signal }: RemovalOptions,
): Promise<Removal["locked"]> {
  const locked: Removal["locked"] = [];
  for (const batch of unrelated(removals)) {
    const free = batch.filter((parent) => {
      const child = locked.find(({ stored }) => isParent(parent, stored));
      if (child) locked.push({ stored: parent, until: child.until });
      return child === undefined;
    });
    const onLocked = ({ key, until }: LockedObject): void => {
      const stored = free.find((one) => one.key === key || headKeyOf(one.key) === key);
      if (stored) locked.push({ stored, until });
    };
    // A head without its manifest would say that somebody else has removed the backup.
    await store.erase(
      free.map(({ key }) => headKeyOf(key)),
      { signal, onLocked },
    );
    const headless = free.filter((one) => !locked.some(({ stored }) => stored === one));
    const keys = headless.map(({ key }) => key);
    await store.erase(keys, { signal, onLocked });
  }
  return locked;
}

/** Groups of neighbours of which none builds on another. */
function* unrelated(removals: readonly StoredManifest[]): Generator<StoredManifest[]> {
  let batch: StoredManifest[] = [];
  for (const stored of removals) {
    if (batch.some((child) => isParent(stored, child))) {
      yield batch;
      batch = [];
    }
    batch.push(stored);
  }
  if (batch.length > 0) yield batch;
}

function isParent(parent: StoredManifest, child: StoredManifest): boolean {
  return child.manifest.parentId === parent.manifest.backupId;
}
