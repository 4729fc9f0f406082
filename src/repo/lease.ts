import {
  type Asking,
  decodeLease,
  encodeLease,
  isInForce,
  LEASE_MS,
  type Lease,
  type Leaseholder,
  leaseKey,
  leaseNumberOf,
  leasePrefix,
} from "../core/lease.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import { IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { sha256Hex } from "./sha256.ts";

export interface LeaseRequest {
  diskTag: string;
  holder: Leaseholder;
  now: () => Date;
  hasEnded: Asking["hasEnded"];
  /** The first lease of one who broke off, to go on with it if it is still there. */
  continues?: LeaseMark | undefined;
}

/** Names one lease of a disk. */
export interface LeaseMark {
  number: number;
  holder: string;
}

/** What came of asking for a lease. */
export type LeaseAnswer = { held: HeldLease } | { heldBy: Lease };

/**
 * Takes the lease of a disk, unless somebody alive has it.
 *
 * Costs a list and a put, and a get where an earlier holder has left something behind.
 * @throws What the store throws.
 */
export async function acquireLease(store: Store, request: LeaseRequest): Promise<LeaseAnswer> {
  for (;;) {
    const present = await leaseKeys(store, request.diskTag);
    const [newest] = present;
    const found = newest && (await readLease(store, newest));
    // Released a moment ago: numbers may begin anew.
    if (found === "gone") continue;
    if (typeof found === "object" && isInForce(found, { ...request, now: request.now() })) {
      return { heldBy: found };
    }
    const held = new HeldLease(store, request, present);
    if (await isStillThere(store, request, present)) held.continueFrom(request.continues);
    // Where another one took that number first, it is time to look again.
    if (await held.take()) return { held };
  }
}

async function isStillThere(
  store: Store,
  { diskTag, continues }: LeaseRequest,
  present: readonly string[],
): Promise<boolean> {
  const key = continues && leaseKey(diskTag, continues.number);
  if (key === undefined || !present.includes(key)) return false;
  const lease = await readLease(store, key);
  return typeof lease === "object" && lease.holder === continues?.holder;
}

/** The newest first. */
async function leaseKeys(store: Store, diskTag: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(leasePrefix(diskTag))) {
    if (leaseNumberOf(key) !== undefined) keys.push(key);
  }
  return keys;
}

/** One that cannot be read keeps nobody out. */
export async function readLease(
  store: Store,
  object: string,
): Promise<Lease | "gone" | "unreadable"> {
  try {
    const bytes = await store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
    return bytes === undefined ? "gone" : decodeLease({ object, bytes }, sha256Hex);
  } catch (error) {
    if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return "unreadable";
    throw error;
  }
}

/** A lease that we have, as far as anybody can say. */
export class HeldLease {
  readonly #store: Store;
  readonly #request: LeaseRequest;
  readonly #acquiredAt: string;
  /** Of the newest of ours; before that, of the one that it follows. */
  #number: number;
  /** Keys that a newer lease has replaced, those of the dead among them. */
  readonly #replaced: Set<string>;
  /** Number of the first of ours. It stays to the end: its store time tells gc when we began. */
  #first: number | undefined;
  #firstHolder: string;
  /** False when the store has refused to remove one. */
  #mayRemove = true;

  /** @param present Keys of those that it follows, the newest first. */
  constructor(store: Store, request: LeaseRequest, present: readonly string[]) {
    this.#store = store;
    this.#replaced = new Set(present);
    this.#request = request;
    this.#firstHolder = request.holder.holder;
    this.#acquiredAt = request.now().toISOString();
    this.#number = leaseNumberOf(present[0] ?? "") ?? 0;
  }

  /**
   * The first lease that stays to the end: what was stored since that was put is safe from gc. For
   * whoever goes on with what a dead one has stored it is that of the dead.
   */
  get first(): LeaseMark {
    return { number: this.#first ?? this.#number, holder: this.#firstHolder };
  }

  /** Before it is taken. @param mark One of those that it follows. */
  continueFrom(mark: LeaseMark | undefined): void {
    if (mark === undefined) return;
    this.#first = mark.number;
    this.#firstHolder = mark.holder;
    this.#replaced.delete(this.#keyOf(mark.number));
  }

  /**
   * Makes it hold for `LEASE_MS` from now on.
   * @returns False when somebody else has taken it.
   */
  async take(): Promise<boolean> {
    const number = this.#number + 1;
    if (!(await this.#put(number, { released: false }))) return false;
    const isBetween = this.#first !== undefined && this.#number !== this.#first;
    if (isBetween) this.#replaced.add(this.#keyOf(this.#number));
    this.#first ??= number;
    this.#number = number;
    return true;
  }

  /** Like `take`; also removes what it has replaced. */
  async renew(): Promise<boolean> {
    if (!(await this.take())) return false;
    await this.#removeReplaced();
    return true;
  }

  /**
   * To be called before what was stored under this lease is committed. The first one of it is still
   * there exactly when nobody has taken us for dead and our objects for garbage: whoever does removes
   * that before anything else.
   *
   * @returns Whether all that was stored is still there.
   */
  async confirm(): Promise<boolean> {
    // First the renewal: whoever looks for the dead from now on sees that we are not.
    if (!(await this.renew())) return false;
    return (await this.#store.head(this.#keyOf(this.#first ?? this.#number))) !== undefined;
  }

  /**
   * Gives it back: removes it with all that it has replaced. Where the store lets nothing be removed
   * a last lease says that it is released.
   */
  async release(): Promise<void> {
    // What it has replaced goes first: it would be the newest without it.
    if (this.#first !== this.#number) this.#replaced.add(this.#keyOf(this.#first ?? this.#number));
    await this.#removeReplaced();
    if (this.#mayRemove) await this.#remove(this.#keyOf(this.#number));
    if (!this.#mayRemove) await this.#put(this.#number + 1, { released: true });
  }

  async #removeReplaced(): Promise<void> {
    for (const key of this.#replaced) {
      if (this.#mayRemove) await this.#remove(key);
      this.#replaced.delete(key);
    }
  }

  async #remove(key: string): Promise<void> {
    try {
      await this.#store.delete(key);
    } catch (error) {
      if (!(error instanceof IbackupError && error.code === "STORE_DENIED")) throw error;
      this.#mayRemove = false;
    }
  }

  async #put(number: number, { released }: { released: boolean }): Promise<boolean> {
    const { holder, now } = this.#request;
    const acquiredAt = this.#acquiredAt;
    const expiresAt = new Date(now().getTime() + LEASE_MS).toISOString();
    const bytes = encodeLease({ ...holder, acquiredAt, expiresAt, released }, sha256Hex);
    return await this.#store.putIfAbsent(this.#keyOf(number), bytes);
  }

  #keyOf(number: number): string {
    return leaseKey(this.#request.diskTag, number);
  }
}
