/**
 * One at a time in a repository: what removes or rearranges what is there.
 *
 * A courtesy like the lease of a disk, and made of the same. Nothing is lost without it; two that do
 * the same at once only find each other's work done.
 */
import { readFileSync } from "node:fs";
import { pid } from "node:process";
import type { Lease } from "../core/lease.ts";
import { IbackupError } from "../errors.ts";
import { acquireLease } from "../repo/lease.ts";
import { MAINTENANCE_TAG } from "../repo/protected_since.ts";
import type { Store } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { DiskLease } from "./disk_lease.ts";
import { describeProcess } from "./leaseholder.ts";

/**
 * @param what For messages: "prune".
 * @throws IbackupError LOCKED while another one works.
 */
export async function whileAlone<T>(
  context: JobContext,
  { store, what }: { store: Store; what: string },
  work: (holder: string) => Promise<T>,
): Promise<T> {
  const holder = describeProcess(context, lockNameOf(pid));
  const request = { diskTag: MAINTENANCE_TAG, holder, now: () => context.clock.now() };
  let answer = await acquireLease(store, request);
  if ("heldBy" in answer && isDead(answer.heldBy, holder)) {
    // As the lock of a disk does: who is dead has nothing any more.
    const heir = { ...holder, lockFile: answer.heldBy.lockFile };
    answer = await acquireLease(store, { ...request, holder: heir });
  }
  if ("heldBy" in answer) throw occupied(what, answer.heldBy);
  const lease = new DiskLease(context, answer.held);
  try {
    return await work(holder.holder);
  } finally {
    await lease.release();
  }
}

/** A process of this machine and boot that is not there any more. */
function isDead(lease: Lease, own: Pick<Lease, "machine" | "bootId">): boolean {
  const isHere = lease.machine === own.machine && lease.bootId === own.bootId;
  return (
    isHere && lease.lockFile.startsWith("process:") && lockNameOf(lease.pid) !== lease.lockFile
  );
}

/** Names a process among all of a boot: numbers are given again, but not at the same time. */
function lockNameOf(processId: number): string {
  try {
    const fields = readFileSync(`/proc/${processId}/stat`, "utf8").split(") ").at(-1)?.split(" ");
    return `process:${processId}:${fields?.[19] ?? "?"}`;
  } catch {
    return "process: gone";
  }
}

function occupied(what: string, lease: Lease): IbackupError {
  return new IbackupError("LOCKED", `Cannot ${what}`, {
    why: `ibackup on host "${lease.hostName}" (process ${lease.pid}) has been removing or rearranging what is in this repository since ${lease.acquiredAt}; its lease ends at ${lease.expiresAt} unless it is renewed`,
    fix: "run the command again when it has ended",
  });
}
