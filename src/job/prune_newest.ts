/** The newest backup of a disk goes only while nobody can be continuing it. */
import type { StoredManifest } from "../core/manifest.ts";
import { diskTagOf } from "../core/manifest_key.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { Store } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { type DiskLease, takeLease } from "./disk_lease.ts";
import { describeProcess, hasProcessEnded } from "./leaseholder.ts";

/** What is locked, and what the user calls it. */
interface LeasedDisk {
  diskTag: string;
  disk: string;
}

export function leasedDisk({ manifest: { vmId, disk } }: StoredManifest): LeasedDisk {
  const diskTag = diskTagOf({ vmId, diskName: disk.name }, sha256Hex);
  return { diskTag, disk: `"${disk.name}" of "${vmId}"` };
}

/**
 * Holds the leases of these disks meanwhile.
 *
 * @throws IbackupError LOCKED while one of them is being backed up.
 */
export async function withLeases<T>(
  context: JobContext,
  { store, disks }: { store: Store; disks: readonly LeasedDisk[] },
  work: () => Promise<T>,
): Promise<T> {
  const leases: DiskLease[] = [];
  try {
    for (const disk of disks) {
      const lease = await takeLease(context, store, {
        ...disk,
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
