/** Since when somebody has been storing what no manifest names yet. */
import { LEASE_MS, leaseNumberOf } from "../core/lease.ts";
import { mapInOrder } from "../core/ordered.ts";
import type { Store, StoredObject } from "../store/store.ts";
import { readLease } from "./lease.ts";

/** Stands where the tag of a disk does: who has this lease removes or rearranges what is there. */
export const MAINTENANCE_TAG = "0".repeat(32);

/** How far the store times of objects may be from the order in which they were put. */
const STORE_MARGIN_MS = 5 * 60_000;
const GETS_IN_FLIGHT = 8;

/**
 * The time, by the clock of the store, from which on every object stays: it may belong to a backup
 * that is being taken.
 *
 * Whoever takes one has a lease before he stores anything, and leaves the first one in its place. So
 * the oldest lease of each disk whose newest is alive tells when he began. What a dead flush left
 * lying there only protects more.
 *
 * @param now By the clock of the store.
 * @param own Holder of the lease of whoever asks.
 * @returns Infinity when nobody is at work.
 */
export async function protectedSince(
  store: Store,
  { now, own }: { now: number; own: string },
): Promise<number> {
  const sinceOf = async (leases: StoredObject[]): Promise<number> => {
    const [newest] = leases;
    if (newest === undefined || isDead(newest, now)) return Number.POSITIVE_INFINITY;
    const lease = await readLease(store, newest.key);
    // Gone: renewed or given back a moment ago, and only he who has it knows which.
    const isOver = typeof lease === "object" && (lease.released || lease.holder === own);
    if (isOver) return Number.POSITIVE_INFINITY;
    return Math.min(...leases.map(({ storedAtMs }) => storedAtMs)) - STORE_MARGIN_MS;
  };
  let since = Number.POSITIVE_INFINITY;
  for await (const one of mapInOrder(await leaseFolders(store), GETS_IN_FLIGHT, sinceOf)) {
    since = Math.min(since, one);
  }
  return since;
}

/** Leases of disks that nobody has been backing up for a while: left behind by the dead. */
export async function* oldLeases(store: Store, now: number): AsyncGenerator<StoredObject> {
  for (const leases of await leaseFolders(store)) {
    const [newest] = leases;
    if (newest && isDead(newest, now)) yield* leases;
  }
}

/** No lease holds so long. */
function isDead(newest: StoredObject, now: number): boolean {
  return now - newest.storedAtMs > LEASE_MS + STORE_MARGIN_MS;
}

/** The leases of each disk, the newest first. */
async function leaseFolders(store: Store): Promise<StoredObject[][]> {
  const folders = new Map<string, StoredObject[]>();
  for await (const object of store.list("leases/")) {
    if (leaseNumberOf(object.key) === undefined) continue;
    const folder = object.key.slice(0, object.key.lastIndexOf("/"));
    folders.set(folder, [...(folders.get(folder) ?? []), object]);
  }
  return [...folders.values()];
}
