/**
 * One at a time in a repository: what removes or rearranges what is there.
 *
 * A courtesy like the lease of a disk, and made of the same. Nothing is lost without it; two that do
 * the same at once only find each other's work done.
 */
import type { Lease } from "../core/lease.ts";
import { IbackupError } from "../errors.ts";
import { acquireLease } from "../repo/lease.ts";
import { MAINTENANCE_TAG } from "../repo/protected_since.ts";
import type { FindSigner, Signer } from "../repo/signature.ts";
import type { Store } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { DiskLease } from "./disk_lease.ts";
import { describeProcess, hasProcessEnded } from "./leaseholder.ts";
import { openSigner } from "./writer_key.ts";

/** The right to remove and rearrange. */
export interface Maintenance {
  /** Of its lease. */
  holder: string;
  /** To be called before anything is named that was stored meanwhile. @throws IbackupError LOCKED. */
  confirm(): Promise<void>;
  /** Signs what is put meanwhile. */
  signer: FindSigner;
}

/**
 * @param what For messages: "prune".
 * @throws IbackupError LOCKED while another one works.
 */
export async function whileAlone<T>(
  context: JobContext,
  { store, what }: { store: Store; what: string },
  work: (maintenance: Maintenance) => Promise<T>,
): Promise<T> {
  const holder = describeProcess(context);
  const answer = await acquireLease(store, {
    diskTag: MAINTENANCE_TAG,
    holder,
    now: () => context.clock.now(),
    hasEnded: hasProcessEnded,
  });
  if ("heldBy" in answer) throw occupied(what, answer.heldBy);
  const lease = new DiskLease(context, answer.held);
  try {
    const confirm = () => lease.confirm(what);
    return await work({ holder: holder.holder, confirm, signer: findOnce(context) });
  } finally {
    await lease.release();
  }
}

function findOnce(context: JobContext): FindSigner {
  let found: { signer: Signer | undefined } | undefined;
  return () => {
    found ??= { signer: openSigner(context) };
    return found.signer;
  };
}

function occupied(what: string, lease: Lease): IbackupError {
  return new IbackupError("LOCKED", `Cannot ${what}`, {
    why: `ibackup on host "${lease.hostName}" (process ${lease.pid}) has been removing or rearranging what is in this repository since ${lease.acquiredAt}; its lease ends at ${lease.expiresAt} unless it is renewed`,
    fix: "run the command again when it has ended",
  });
}
