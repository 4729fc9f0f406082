/** Takes the lease of a disk in a repository for the time of a flush, and keeps it. */
import { clearTimeout, setTimeout } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";
import { type Lease, RENEW_MS } from "../core/lease.ts";
import { IbackupError, messageOf } from "../errors.ts";
import { acquireLease, type HeldLease, type LeaseMark, type LeaseRequest } from "../repo/lease.ts";
import type { Store } from "../store/store.ts";
import type { JobContext } from "./context.ts";

/** Between two looks at a lease that somebody has; it doubles from one to the next. */
const FIRST_PAUSE_MS = 250;
const PAUSE_MS_MAX = 10_000;
/** A store that has stopped answering must not keep a flush from ending. */
const RELEASE_MS_MAX = 5_000;

export interface LeaseWish extends LeaseRequest {
  /** For messages: "vda" of "web-1". */
  disk: string;
  /** How long to wait for its holder; Infinity for as long as it takes. */
  waitMs: number;
}

/**
 * @throws IbackupError LOCKED while somebody alive has the lease, the reason of the context's
 *   signal, or what the store throws.
 */
export async function takeLease(
  context: JobContext,
  store: Store,
  wish: LeaseWish,
): Promise<DiskLease> {
  const { clock, progress, signal } = context;
  const endsAtMs = clock.monotonicMs() + wish.waitMs;
  let pauseMs = FIRST_PAUSE_MS;
  for (let isFirst = true; ; isFirst = false) {
    signal.throwIfAborted();
    const answer = await acquireLease(store, wish);
    if ("held" in answer) return new DiskLease(context, answer.held);
    const leftMs = endsAtMs - clock.monotonicMs();
    if (leftMs <= 0) throw leaseHeld(wish, answer.heldBy);
    if (isFirst) progress.message(`waiting: ${describeHolder(wish, answer.heldBy)}`);
    await pause(Math.min(pauseMs, leftMs), signal);
    pauseMs = Math.min(2 * pauseMs, PAUSE_MS_MAX);
  }
}

/** A lease that renews itself until it is released. */
export class DiskLease {
  readonly #context: JobContext;
  readonly #held: HeldLease;
  readonly #renewMs: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Never rejects. */
  #renewal: Promise<void> = Promise.resolve();
  /** When to renew it next, paused or not. */
  #dueMs: number;
  /** No longer renewed: it is given back, or somebody else has it. */
  #isOver = false;

  constructor(context: JobContext, held: HeldLease, renewMs = RENEW_MS) {
    this.#context = context;
    this.#held = held;
    this.#renewMs = renewMs;
    this.#dueMs = context.clock.monotonicMs() + renewMs;
    this.resume();
  }

  /**
   * Resolves when nothing is being written for the lease, and nothing will be until `resume`: while
   * a file system is frozen a write may hang, the repository's too.
   */
  async pause(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    await this.#renewal;
  }

  resume(): void {
    if (this.#isOver || this.#timer !== undefined) return;
    const inMs = Math.max(0, this.#dueMs - this.#context.clock.monotonicMs());
    this.#timer = setTimeout(() => {
      this.#renewal = this.#renew();
    }, inMs).unref();
  }

  /**
   * Makes sure that nobody took this process for dead and what it has stored for garbage: after a
   * machine stood still for long, gc may have. To be called before that is committed.
   *
   * @param what Cannot be done otherwise: "store the backup".
   * @throws IbackupError LOCKED; what the store throws.
   */
  async confirm(what: string): Promise<void> {
    await this.pause();
    const isThere = await this.#held.confirm();
    this.resume();
    if (isThere) return;
    throw new IbackupError("LOCKED", `Cannot ${what}`, {
      why: "its lease had ended, as when a machine stands still for long: another ibackup may have taken its place, and gc may have removed what it had stored",
      fix: "run the command again; nothing was committed",
    });
  }

  get first(): LeaseMark {
    return this.#held.first;
  }

  /**
   * Leaves it as a dead one does: what was stored stays safe from gc until it ends, and the next flush
   * of this machine goes on with it at once.
   */
  async leave(): Promise<void> {
    this.#isOver = true;
    await this.pause();
  }

  /** Never fails: a lease that is left behind ends by itself, and keeps this machine from nothing. */
  async release(): Promise<void> {
    this.#isOver = true;
    const control = new AbortController();
    const released = this.pause()
      .then(() => this.#held.release())
      .catch((error: unknown) => this.#tell("release", error));
    const limit = pause(RELEASE_MS_MAX, control.signal).catch(() => undefined);
    await Promise.race([released, limit]);
    control.abort();
  }

  async #renew(): Promise<void> {
    try {
      if (!(await this.#held.renew())) this.#lose();
    } catch (error) {
      this.#tell("renew", error);
    }
    this.#dueMs = this.#context.clock.monotonicMs() + this.#renewMs;
    // Undefined: paused meanwhile.
    if (this.#timer === undefined) return;
    this.#timer = undefined;
    this.resume();
  }

  #lose(): void {
    this.#isOver = true;
    this.#context.progress.message(
      "another ibackup has taken the lease of this disk: only one of the two backups will be committed",
    );
  }

  #tell(action: string, error: unknown): void {
    const why = error instanceof IbackupError ? error.why : messageOf(error);
    this.#context.progress.message(`cannot ${action} the lease of this disk: ${why}`);
  }
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await sleep(durationMs, undefined, { signal }).catch(() => undefined);
  signal.throwIfAborted();
}

function leaseHeld(wish: LeaseWish, lease: Lease): IbackupError {
  return new IbackupError("LOCKED", `Cannot back up disk ${wish.disk}`, {
    why: describeHolder(wish, lease),
    fix: "wait until it has ended (`--wait` does), or, if that is another disk, give it a name of its own: --disk or --vm",
  });
}

function describeHolder({ disk }: LeaseWish, lease: Lease): string {
  const who = `ibackup on host "${lease.hostName}" (process ${lease.pid})`;
  return `${who} has been backing up disk ${disk} since ${lease.acquiredAt}; its lease ends at ${lease.expiresAt} unless it is renewed`;
}
