/** The newest backup of a disk goes only while nobody can be continuing it. */
import type { StoredManifest } from "../core/manifest.ts";
import { diskTagOf } from "../core/manifest_key.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { JobContext } from "./context.ts";
import { type DiskLease, takeLease } from "./disk_lease.ts";
import { describeProcess, hasProcessEnded } from "./leaseholder.ts";

/**
 * Holds the leases of the disks of these backups meanwhile.
 *
 * @throws IbackupError LOCKED while one of them is being backed up.
 */
export async function withLeases<T>(
  context: JobContext,
  { repository, newest }: { repository: Repository; newest: readonly StoredManifest[] },
  work: () => Promise<T>,
): Promise<T> {
  const leases: DiskLease[] = [];
  try {
    for (const { manifest } of newest) {
      const { vmId, disk } = manifest;
      const lease = await takeLease(context, repository.store, {
        disk: `"${disk.name}" of "${vmId}"`,
        diskTag: diskTagOf({ vmId, diskName: disk.name }, sha256Hex),
        holder: describeProcess(context),
        now: () => context.clock.now(),
        hasEnded: hasProcessEnded,
        waitMs: 0,
      });
      leases.push(lease);
    }
    return await work();
  } finally {
    for (const lease of leases) await lease.release();
  }
}
