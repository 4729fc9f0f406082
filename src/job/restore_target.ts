/** Whether a backup may be restored to a device or file, and opening it. */
import { existsSync, statSync } from "node:fs";
import type { Manifest } from "../core/manifest.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { mountsOf } from "../disk/mounts.ts";
import { openDeviceTarget, openFileTarget, type RestoreTarget } from "../disk/restore_target.ts";
import { checkFileTarget, refuseSmall } from "../disk/target_refusals.ts";
import { IbackupError } from "../errors.ts";
import type { RestoreOptions, RestoreTask } from "./restore_task.ts";
import { openTargetKernel } from "./target_kernel.ts";

type Wanted = Pick<RestoreTask, "manifest" | "options">;

/** @throws IbackupError TARGET_BUSY, TARGET_TOO_SMALL, DEVICE, or what opening it throws. */
export async function openRestoreTarget(restore: RestoreTask): Promise<RestoreTarget> {
  const { context, options, manifest } = restore;
  const { sizeBytes } = manifest.disk;
  if (!isBlockDevice(options.target)) {
    return await openFileTarget(options.target, fileOptions(restore));
  }
  const device = refuseDevice(restore);
  return await openDeviceTarget(device, {
    sizeBytes,
    kernel: (descriptor) => openTargetKernel(context, device, descriptor),
  });
}

/** Looks as `openRestoreTarget` does, and opens nothing. @throws IbackupError as that does. */
export async function refuseTarget(restore: Wanted): Promise<void> {
  if (isBlockDevice(restore.options.target)) {
    refuseSmall(refuseDevice(restore), restore.manifest.disk.sizeBytes);
  } else await checkFileTarget(restore.options.target, fileOptions(restore));
}

export function isBlockDevice(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isBlockDevice() === true;
}

function fileOptions({ options: { changedOnly, force }, manifest }: Wanted) {
  return { sizeBytes: manifest.disk.sizeBytes, inPlace: changedOnly, force };
}

/** @throws IbackupError TARGET_BUSY when it is mounted, or is the disk that was backed up. */
function refuseDevice({ manifest, options }: Wanted): BlockDevice {
  const { target: path, force } = options;
  const device = describeDevice(path);
  const [mount] = mountsOf(device);
  if (mount !== undefined) {
    throw new IbackupError("TARGET_BUSY", `Cannot restore to "${path}"`, {
      why: `${mount.source} is mounted at ${mount.mountpoint}`,
      fix: `unmount it (\`umount ${mount.mountpoint}\`), or name another target`,
    });
  }
  if (isSource(manifest, options, device) && !force) {
    throw new IbackupError("TARGET_BUSY", `Cannot restore to "${path}"`, {
      why: "it is the disk that the backup was taken of, and all on it would be overwritten",
      fix: "name another target, or add --force if that is what you want",
    });
  }
  return device;
}

/** True for the disk itself, for the whole disk of a partition, and for a partition of it. */
function isSource(
  { disk, vmId }: Manifest,
  options: RestoreOptions,
  { identity, name }: BlockDevice,
): boolean {
  const [source, target] = [disk.identity, identity];
  if (source.kind !== target.kind) return false;
  // A copy has the id of the partition table too, and may be restored to again.
  if (target.kind === "ptuuid" && isAnother(disk.name, name)) return false;
  // What the kernel calls a disk means nothing on another machine.
  if (target.kind === "name" && vmId !== options.backup.vmId) return false;
  return (
    [source.value, wholeOf(source.value)].includes(target.value) ||
    wholeOf(target.value) === source.value
  );
}

/** True when the named disk is here as well, and is not this device nor a part of it. */
function isAnother(diskName: string, deviceName: string): boolean {
  const isHere = /^[\w-]+$/.test(diskName) && existsSync(`/sys/class/block/${diskName}`);
  return isHere && !diskName.startsWith(deviceName) && !deviceName.startsWith(diskName);
}

function wholeOf(identity: string): string {
  return identity.replace(/-part[0-9]+$/, "");
}
