/** What a flush does before it reads anything: see what it continues, and keep others out. */
import { diskTagOf } from "../core/manifest_key.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { JobContext } from "./context.ts";
import { type DiskLease, takeLease } from "./disk_lease.ts";
import { describeLeaseholder, hasProcessEnded } from "./leaseholder.ts";
import { findSuccession, type Succession, type Successor } from "./succession.ts";
import { UploadJournal } from "./upload_journal.ts";

export interface Claim {
  succession: Succession;
  /** Held; to be released at the end. */
  lease: DiskLease;
  journal: UploadJournal;
}

/**
 * @param asked `lockFile` of the disk, whose lock the caller has; `waitMs` for whoever has the lease.
 * @throws IbackupError LOCKED, and what `findSuccession` and the store throw.
 */
export async function claimDisk(
  context: JobContext,
  successor: Successor,
  asked: { repository: Repository; lockFile: string; waitMs: number },
): Promise<Claim> {
  const { repository, lockFile, waitMs } = asked;
  const before = await findSuccession(context, successor, { repository });
  const { diskName } = before;
  const { vmId } = successor;
  const diskTag = diskTagOf({ vmId, diskName }, sha256Hex);
  const journal = new UploadJournal({
    runtimeFolder: context.runtimeDir(),
    repository,
    tag: diskTag,
  });
  const lease = await takeLease(context, repository.store, {
    disk: `"${diskName}" of "${vmId}"`,
    diskTag,
    continues: journal.lease,
    holder: describeLeaseholder(context, lockFile),
    now: () => context.clock.now(),
    hasEnded: hasProcessEnded,
    waitMs,
  });
  try {
    // Whoever had the lease until now has probably added a backup.
    const named = { ...successor, diskName };
    const succession = await findSuccession(context, named, { repository, before });
    journal.begin(lease.first);
    return { succession, lease, journal };
  } catch (error) {
    await lease.release();
    throw error;
  }
}
