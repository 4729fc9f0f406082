/**
 * Removes the objects that nothing reaches: gc.
 *
 * What backups reach is marked, from manifests and maps through index objects to packs, and every
 * other object that is old enough goes. Whether it is old enough is a matter of store times alone:
 * those of objects, of leases, and of a marker that gc puts first. A flush has a lease before it
 * stores anything and commits nothing that was there before; so what it stores is younger than its
 * lease, and either gc finds that lease or its marker is the older one. Before a flush commits it
 * makes sure that its lease was never taken for a dead one's.
 *
 * Nothing is noted anywhere: killed at any moment, the next gc begins anew and has less to do.
 */
import { indexKey } from "../core/index_codec.ts";
import { mapInOrder } from "../core/ordered.ts";
import { IbackupError } from "../errors.ts";
import type { Store, StoredObject } from "../store/store.ts";
import { cannotTell } from "./damage.ts";
import { putMarker } from "./gc_marker.ts";
import { oldSidecars } from "./old_sidecars.ts";
import { protectedSince } from "./protected_since.ts";
import { findReachable, type Reachable, type ReachableIndex } from "./reachable.ts";
import type { Repository } from "./repository.ts";

const TABLES_IN_FLIGHT = 8;
/** Twice as long as a claim holds (`S3Fence`). */
const LEFTOVER_MS = 60 * 60_000;
/** Names of packs that are held at one time: some 150 bytes each. */
const NAMES_MAX = 400_000;
const HEX_PAIRS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

export interface GcOptions {
  /** What was stored less long ago stays. */
  graceMs: number;
  dryRun: boolean;
  /** Holder of the lease of whoever asks. */
  own: string;
  /** Most names of packs held at one time. */
  namesMax?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface GcResult {
  dryRun: boolean;
  /** Removed, or with a dry run: to be removed. */
  packs: number;
  indexes: number;
  documents: number;
  bytes: number;
  /** Nothing reaches them, but they may still belong to something under way. */
  youngObjects: number;
  youngBytes: number;
  /** Those that the store does not let go yet. */
  lockedObjects: number;
}

/**
 * @throws IbackupError CORRUPT_DATA when a manifest, a map or an index object cannot be read: what it
 *   reaches nobody knows. Nothing was removed then.
 */
export async function collectGarbage(
  repository: Repository,
  options: GcOptions,
): Promise<GcResult> {
  const { store } = repository;
  const marker = await putMarker(store);
  try {
    const now = marker.storedAtMs;
    const { own, graceMs } = options;
    const collection = new Collection(store, options, now - graceMs);
    const revoke = (leases: readonly StoredObject[]) => collection.sweep(leases, "documents");
    collection.protect(await protectedSince(store, { now, own, revoke }));
    const reachable = await findReachable(repository);
    await collection.sweep(unreached("indexes/", store, reachable.indexNames), "indexes");
    await sweepPacks(collection, { repository, reachable, options });
    await collection.sweep(
      oldSidecars(store, { reachable, cutoffMs: collection.cutoffMs }),
      "documents",
    );
    await collection.sweep(leftovers(store, now), "documents");
    await collection.sweep(marker.older, "documents");
    return collection.result;
  } finally {
    await marker.remove();
  }
}

/** Counts what is found, and removes it where it is old enough. */
class Collection {
  readonly result: GcResult;
  readonly #store: Store;
  readonly #options: GcOptions;
  /** What was stored then or later stays; by the clock of the store. */
  #cutoffMs: number;

  constructor(store: Store, options: GcOptions, cutoffMs: number) {
    this.#store = store;
    this.#options = options;
    this.#cutoffMs = cutoffMs;
    this.result = {
      dryRun: options.dryRun,
      packs: 0,
      indexes: 0,
      documents: 0,
      bytes: 0,
      youngObjects: 0,
      youngBytes: 0,
      lockedObjects: 0,
    };
  }

  get cutoffMs(): number {
    return this.#cutoffMs;
  }

  /** From now on also what was stored since then stays. */
  protect(sinceMs: number): void {
    this.#cutoffMs = Math.min(this.#cutoffMs, sinceMs);
  }

  /** @param objects Nothing needs them. */
  async sweep(
    objects: AsyncIterable<StoredObject> | Iterable<StoredObject>,
    kind: "packs" | "indexes" | "documents",
  ): Promise<void> {
    const { dryRun, signal } = this.#options;
    const keys = this.#oldOnes(objects, kind);
    if (dryRun) {
      for await (const _ of keys);
      return;
    }
    const onLocked = (): void => {
      this.result.lockedObjects += 1;
      this.result[kind] -= 1;
    };
    await this.#store.erase(keys, { signal, onLocked });
  }

  async *#oldOnes(
    objects: AsyncIterable<StoredObject> | Iterable<StoredObject>,
    kind: "packs" | "indexes" | "documents",
  ): AsyncGenerator<string> {
    const { result } = this;
    for await (const { key, sizeBytes, storedAtMs } of objects) {
      this.#options.signal?.throwIfAborted();
      if (storedAtMs < this.#cutoffMs) {
        result[kind] += 1;
        result.bytes += sizeBytes;
        yield key;
      } else {
        result.youngObjects += 1;
        result.youngBytes += sizeBytes;
      }
    }
  }
}

async function* unreached(
  prefix: string,
  store: Store,
  names: ReadonlySet<string>,
): AsyncGenerator<StoredObject> {
  for await (const object of store.list(prefix)) {
    if (!names.has(object.key.slice(object.key.lastIndexOf("/") + 1))) yield object;
  }
}

/** What writers and doctors that died have left: claims on keys, and objects that were tried on. */
async function* leftovers(store: Store, now: number): AsyncGenerator<StoredObject> {
  for (const prefix of ["claims/", "probe-"]) {
    for await (const object of store.list(prefix)) {
      // One that somebody still relies on is never so old, whatever the grace time.
      if (now - object.storedAtMs > LEFTOVER_MS) yield object;
    }
  }
}

/** Some of the names at a time, so that memory does not grow with the repository. */
async function sweepPacks(
  collection: Collection,
  given: { repository: Repository; reachable: Reachable; options: GcOptions },
): Promise<void> {
  const { repository, reachable, options } = given;
  const { store } = repository;
  for (const pairs of await groupsOf(store, options.namesMax ?? NAMES_MAX)) {
    const names = await packsNamed(repository, reachable.indexes, new Set(pairs));
    for (const pair of pairs) {
      await collection.sweep(unreached(`packs/${pair}/`, store, names), "packs");
    }
  }
}

/** The first two digits of names, in groups of which each has not too many packs. */
async function groupsOf(store: Store, namesMax: number): Promise<string[][]> {
  const counts = new Map<string, number>();
  for await (const { key } of store.list("packs/")) {
    const pair = key.slice("packs/".length, "packs/".length + 2);
    counts.set(pair, (counts.get(pair) ?? 0) + 1);
  }
  const groups: string[][] = [];
  let inGroup = Number.POSITIVE_INFINITY;
  for (const pair of HEX_PAIRS) {
    const count = counts.get(pair) ?? 0;
    if (count === 0) continue;
    inGroup += count;
    if (inGroup > namesMax) {
      groups.push([]);
      inGroup = count;
    }
    groups.at(-1)?.push(pair);
  }
  return groups;
}

async function packsNamed(
  repository: Repository,
  indexes: readonly ReachableIndex[],
  pairs: ReadonlySet<string>,
): Promise<Set<string>> {
  const names = new Set<string>();
  const read = async (one: ReachableIndex) => await readTable(repository, one);
  for await (const packs of mapInOrder(indexes, TABLES_IN_FLIGHT, read)) {
    for (const { name } of packs) if (pairs.has(name.slice(0, 2))) names.add(name);
  }
  return names;
}

async function readTable({ indexes }: Repository, { manifest, index, isOld }: ReachableIndex) {
  try {
    return await indexes.packs(manifest, index);
  } catch (error) {
    if (!(error instanceof IbackupError) || error.code !== "CORRUPT_DATA") throw error;
    if (isOld) return [];
    throw cannotTell(indexKey(index.name), error, "remove its backups");
  }
}
