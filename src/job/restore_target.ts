/** Whether a backup may be restored to a device or file, and opening it. */
import { existsSync, statSync } from "node:fs";
import type { Manifest } from "../core/manifest.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { devicesOfLoops, type Obstacle, obstacleInFile, obstacleOn } from "../disk/device_users.ts";
import { openDeviceTarget, openFileTarget, type RestoreTarget } from "../disk/restore_target.ts";
import { busy, checkFileTarget, refuseSmall } from "../disk/target_refusals.ts";
import { IbackupError, systemCodeOf } from "../errors.ts";
import type { RestoreOptions, RestoreTask } from "./restore_task.ts";
import { openTargetKernel } from "./target_kernel.ts";

type Wanted = Pick<RestoreTask, "manifest" | "options">;

/** @throws IbackupError TARGET_BUSY, TARGET_TOO_SMALL, DEVICE, or what opening it throws. */
export async function openRestoreTarget(restore: RestoreTask): Promise<RestoreTarget> {
  const { context, options, manifest } = restore;
  const { target: path, confirm } = options;
  const { sizeBytes } = manifest.disk;
  if (!isBlockDevice(path)) {
    return await openFileTarget(path, {
      ...fileOptions(restore),
      kernel: (descriptor) => openTargetKernel(context, path, descriptor),
      confirm: async (opened) => {
        if (opened !== undefined) refuseObstacle(path, obstacleInFile(opened));
        await confirm?.(opened);
      },
    });
  }
  const device = refuseDevice(restore);
  warnOfSectors(restore, device);
  return await openDeviceTarget(device, {
    sizeBytes,
    kernel: (descriptor) => openTargetKernel(context, device, descriptor),
    confirm: async (opened) => {
      refuseDevice(restore, opened);
      await confirm?.(opened);
    },
  });
}

/** Looks as `openRestoreTarget` does, and opens nothing. @throws IbackupError as that does. */
export async function refuseTarget(restore: Wanted): Promise<void> {
  const { target: path, changedOnly } = restore.options;
  if (isBlockDevice(path)) {
    refuseSmall(refuseDevice(restore), restore.manifest.disk.sizeBytes);
    return;
  }
  const present = await checkFileTarget(path, fileOptions(restore));
  if (present !== undefined && changedOnly) refuseObstacle(path, obstacleInFile(path));
}

export function isBlockDevice(path: string): boolean {
  try {
    return statSync(path).isBlockDevice();
  } catch (error) {
    // What is wrong with it as a file is told by whoever opens it as one.
    if (systemCodeOf(error) === undefined) throw error;
    return false;
  }
}

/** What is on the disk counts its sectors, and is not found where these have another size. */
export function sectorLoss(
  { disk: { logicalBlockBytes: expected } }: Manifest,
  { logicalBlockBytes: found }: BlockDevice,
): string | undefined {
  if (expected === found) return undefined;
  return `sectors of ${found} bytes, where the disk had ${expected}: a partition table or file system made for these may not be readable there`;
}

function warnOfSectors({ context, manifest }: RestoreTask, device: BlockDevice): void {
  const loss = sectorLoss(manifest, device);
  if (loss !== undefined) context.progress.message(`warning: ${device.path} has ${loss}`);
}

function fileOptions({ options: { changedOnly, force }, manifest }: Wanted) {
  return { sizeBytes: manifest.disk.sizeBytes, inPlace: changedOnly, force };
}

/**
 * @param opened Leads to it for certain, once it is open.
 * @throws IbackupError TARGET_BUSY when it is in use, or is the disk that was backed up.
 */
function refuseDevice({ manifest, options }: Wanted, opened = options.target): BlockDevice {
  const { target: path, force } = options;
  const device = { ...describeDevice(opened), path };
  refuseObstacle(path, obstacleOn(device));
  if (!force && devicesOfLoops(device).some((each) => isSource(manifest, options, each))) {
    throw busy(
      path,
      "it is the disk that the backup was taken of, and all on it would be overwritten",
      "name another target, or add --force if that is what you want",
    );
  }
  return device;
}

/** @throws IbackupError TARGET_BUSY where there is one. */
export function refuseObstacle(path: string, obstacle: Obstacle | undefined): void {
  if (obstacle !== undefined) throw busy(path, obstacle.why, obstacle.fix);
}

/** True for the disk itself, for the whole disk of a partition, and for a partition of it. */
function isSource({ disk, vmId }: Manifest, options: RestoreOptions, target: BlockDevice): boolean {
  const source = disk.identity;
  // What the kernel calls a disk means nothing on another machine.
  if (source.kind === "name" && vmId !== options.backup.vmId) return false;
  // It may have got a better identity since.
  const value = source.kind === "name" ? kernelIdentity(target) : target.identity.value;
  if (source.kind !== "name" && source.kind !== target.identity.kind) return false;
  // A copy has the id of the partition table too, and may be restored to again.
  if (source.kind === "ptuuid" && isAnother(disk, target.name)) return false;
  return [source.value, wholeOf(source.value)].includes(value) || wholeOf(value) === source.value;
}

/** The identity of a disk that has no other. */
function kernelIdentity({ identity, wholeDisk }: BlockDevice): string {
  return wholeDisk.name + identity.value.slice(wholeOf(identity.value).length);
}

/** True when the disk that was backed up is here as well, and is not this device nor a part of it. */
function isAnother({ name, identity }: Manifest["disk"], deviceName: string): boolean {
  if (name.startsWith(deviceName) || deviceName.startsWith(name)) return false;
  if (!/^[\w-]+$/.test(name) || !existsSync(`/sys/class/block/${name}`)) return false;
  try {
    return describeDevice(`/dev/${name}`).identity.value === identity.value;
  } catch (error) {
    // It has no medium, or is gone.
    if (error instanceof IbackupError && error.code === "DEVICE") return false;
    throw error;
  }
}

function wholeOf(identity: string): string {
  return identity.replace(/-part[0-9]+$/, "");
}
