/** How the disks of this machine stand: what they are, and what tracking says of them. */
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { IbackupError } from "../errors.ts";
import { blockShiftFor, type TrackingStatus } from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { countChanged, trustedSlot } from "./due.ts";
import { auditedStatus } from "./self_audit.ts";
import { pathOf, withHelper } from "./track.ts";

/** What is known where tracking tells nothing. */
export const NOT_TRACKED: TrackingStatus = { session: undefined, slots: [] };

export interface DiskView {
  /** As it was asked for. */
  device: string;
  /** Why nothing is known of it: there is no such device. */
  failure: IbackupError | undefined;
  sectorCount: number;
  blockBytes: number;
  blockCount: number;
  /** Number of its slot; undefined when it is not tracked. */
  slot: number | undefined;
  /** Those that were raised. */
  taints: { reason: string; count: number }[];
  /**
   * Blocks that have changed since the newest backup in a repository; undefined when it is not
   * tracked.
   * @param repositoryId Undefined: those that the kernel has marked.
   */
  changedBlocks(repositoryId: string | undefined): number | undefined;
}

/** @param paths None: all that are tracked. @throws IbackupError TRACKER. */
export async function lookAtDisks(
  context: Pick<JobContext, "helper" | "helperArgs" | "runtimeDir">,
  paths: readonly string[],
): Promise<DiskView[]> {
  return await withHelper(context, async (helper) => {
    const status = await auditedStatus({ runtimeFolder: context.runtimeDir(), helper });
    return viewDisks(context, status, paths);
  });
}

/** @param paths None: all that are tracked. */
export function viewDisks(
  context: Pick<JobContext, "runtimeDir">,
  status: TrackingStatus,
  paths: readonly string[],
): DiskView[] {
  const wanted = paths.length > 0 ? paths : status.slots.map(pathOf).sort();
  return wanted.map((path) => {
    try {
      return viewOf(context, status, { path, device: describeDevice(path) });
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      return noDisk(path, error);
    }
  });
}

function viewOf(
  context: Pick<JobContext, "runtimeDir">,
  status: TrackingStatus,
  { path, device }: { path: string; device: BlockDevice },
): DiskView {
  const slot = trustedSlot(context, status, device);
  const sectorsPerBlock = 2 ** blockShiftFor(device.sectorCount);
  const taints = Object.entries(slot?.taints ?? {}).filter(([, count]) => count > 0);
  return {
    device: path,
    failure: undefined,
    sectorCount: device.sectorCount,
    blockBytes: 512 * sectorsPerBlock,
    blockCount: Math.ceil(device.sectorCount / sectorsPerBlock),
    slot: slot?.slot,
    taints: taints.map(([reason, count]) => ({ reason, count })),
    changedBlocks: (repositoryId) =>
      repositoryId === undefined
        ? slot?.dirtyBlocks
        : countChanged(context, status, { device, repositoryId }),
  };
}

function noDisk(path: string, failure: IbackupError): DiskView {
  const nothing = { sectorCount: 0, blockBytes: 0, blockCount: 0, slot: undefined, taints: [] };
  return { device: path, failure, ...nothing, changedBlocks: () => undefined };
}
