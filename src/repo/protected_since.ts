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

interface Asking {
  /** By the clock of the store. */
  now: number;
  /** Holder of the lease of whoever asks. */
  own: string;
  /** Is to remove leases that the dead have left behind, wherever it removes what they have stored. */
  revoke(leases: readonly StoredObject[]): Promise<void>;
}

/**
 * The time, by the clock of the store, from which on every object stays: it may belong to a backup
 * that is being taken.
 *
 * Whoever takes one has a lease before he stores anything, and leaves the first one in its place. So
 * the oldest lease of each disk whose newest is alive tells when he began. (What a dead one has left
 * lying there protects more, until whoever follows him renews his lease for the first time.)
 *
 * The dead may only have stood still. So their leases are revoked before anything else, and then we
 * look again: he who goes on renews his lease, and then looks whether his first one is there
 * (`HeldLease.confirm`). Either we see that he is alive, or he sees that he was taken for dead.
 *
 * @returns Infinity when nobody is at work.
 */
export async function protectedSince(store: Store, asking: Asking): Promise<number> {
  const { now, own, revoke } = asking;
  const before = await leasesByDisk(store);
  await revoke([...before.values()].filter((leases) => isDead(leases, now)).flat());
  const sinceOf = async ([disk, leases]: [string, StoredObject[]]): Promise<number> => {
    const [newest] = leases;
    if (newest === undefined || isDead(leases, now)) return Number.POSITIVE_INFINITY;
    const lease = await readLease(store, newest.key);
    // Gone: renewed or given back a moment ago, and only he who has it knows which.
    const isOver = typeof lease === "object" && (lease.released || lease.holder === own);
    if (isOver) return Number.POSITIVE_INFINITY;
    const all = [...(before.get(disk) ?? []), ...leases];
    return Math.min(...all.map(({ storedAtMs }) => storedAtMs)) - STORE_MARGIN_MS;
  };
  let since = Number.POSITIVE_INFINITY;
  for await (const one of mapInOrder(await leasesByDisk(store), GETS_IN_FLIGHT, sinceOf)) {
    since = Math.min(since, one);
  }
  return since;
}

/** No lease holds so long. */
function isDead([newest]: readonly StoredObject[], now: number): boolean {
  return newest !== undefined && now - newest.storedAtMs > LEASE_MS + STORE_MARGIN_MS;
}

/** The leases of each disk, the newest first. */
async function leasesByDisk(store: Store): Promise<Map<string, StoredObject[]>> {
  const folders = new Map<string, StoredObject[]>();
  for await (const object of store.list("leases/")) {
    if (leaseNumberOf(object.key) === undefined) continue;
    const folder = object.key.slice(0, object.key.lastIndexOf("/"));
    folders.set(folder, [...(folders.get(folder) ?? []), object]);
  }
  return folders;
}
