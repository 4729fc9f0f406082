/** Which file systems of a disk are mounted here. */
import { readdirSync, realpathSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { systemCodeOf } from "../errors.ts";
import { type BlockDevice, dependentsOf, splitDeviceNumber } from "./block_device.ts";
import { loopFiles } from "./loop_files.ts";
import { type MountInfo, mountAt, readMountInfo } from "./mount_info.ts";

export type Mount = Pick<MountInfo, "mountpoint" | "fileSystem" | "source" | "readOnly">;

/** A file system, by one of its mounts. */
export type MountedFileSystem = Pick<MountInfo, "mountId" | "mountpoint" | "fileSystem">;

/**
 * Mounts of the device, of its partitions, and of whatever is stacked on them, in the order in
 * which they were mounted. Bind mounts of one file system all appear.
 */
export function mountsOf(device: BlockDevice): Mount[] {
  return mountsOn(new Set(dependentsOf(device)));
}

/**
 * What must be frozen so that nothing changes on the device: its mounted file systems, those of its
 * partitions and of what is stacked on them, and those on loop devices whose file lies on one of
 * these. Each file system once, however often it is mounted, by a mount that its path leads to.
 *
 * @returns In the order in which to freeze: what lies on another comes before it, and else what was
 *   mounted last comes first.
 */
export function freezeTargets(device: BlockDevice): MountedFileSystem[] {
  const mounts = readMountInfo();
  const depths = [...depthsOf(device, mounts)];
  const firsts = new Map(
    depths.map(([number]) => [number, mounts.findIndex((it) => it.deviceNumber === number)]),
  );
  const orderOf = (number: string): number => firsts.get(number) ?? 0;
  return depths
    .sort(([a, depthA], [b, depthB]) => depthB - depthA || orderOf(b) - orderOf(a))
    .flatMap(([number]) => {
      const all = mounts.filter(({ deviceNumber }) => deviceNumber === number);
      const best = all.find((mount) => mountAt(mount.mountpoint, mounts) === mount) ?? all[0];
      return best === undefined ? [] : [best];
    })
    .map(({ mountId, mountpoint, fileSystem }) => ({ mountId, mountpoint, fileSystem }));
}

/** By the number of each file system: how many loop devices lie between it and the device. */
function depthsOf(device: BlockDevice, mounts: readonly MountInfo[]): Map<string, number> {
  const depths = new Map<string, number>();
  const loops = loopFiles();
  let names = new Set(dependentsOf(device));
  // A loop device may lie on another, but no chain of them is longer than there are devices.
  for (let depth = 0; names.size > 0 && depth <= loops.size; depth++) {
    const numbers = new Set(mountsOn(names, mounts).map(({ deviceNumber }) => deviceNumber));
    for (const number of numbers) depths.set(number, depth);
    const above = [...loops].filter(([, file]) =>
      numbers.has(mountAt(file, mounts)?.deviceNumber ?? ""),
    );
    names = new Set(above.flatMap(([name]) => dependentsOf({ name })));
  }
  return depths;
}

/**
 * @param names The kernel's.
 * @returns The mounts whose file system lies on one of these devices, in the order of `mounts`.
 */
export function mountsOn(
  names: ReadonlySet<string>,
  mounts: readonly MountInfo[] = readMountInfo(),
): MountInfo[] {
  const btrfs = btrfsDevices();
  return mounts.filter(({ source, deviceNumber, fileSystem }) => {
    const name = kernelNameOf(source);
    if (names.has(name) || names.has(nameOfNumber(deviceNumber))) return true;
    // btrfs names one of its devices; the disk may be another of them.
    const devices = fileSystem === "btrfs" ? btrfs.find((all) => all.includes(name)) : undefined;
    return devices?.some((it) => names.has(it)) === true;
  });
}

/** The devices of each btrfs that is mounted. */
function btrfsDevices(): string[][] {
  const folder = "/sys/fs/btrfs";
  return listFolder(folder).map((id) => listFolder(join(folder, id, "devices")));
}

/**
 * The kernel's name of a mount source, "" when it is no device. btrfs reports an anonymous device
 * number, so its source tells; the root's source may be a name that is not there ("/dev/root"),
 * so its number tells.
 */
function kernelNameOf(source: string): string {
  if (!source.startsWith("/")) return "";
  const stats = statSync(source, { throwIfNoEntry: false });
  if (!stats?.isBlockDevice()) return "";
  const { major, minor } = splitDeviceNumber(stats.rdev);
  return nameOfNumber(`${major}:${minor}`);
}

function nameOfNumber(deviceNumber: string): string {
  try {
    return basename(realpathSync(`/sys/dev/block/${deviceNumber}`));
  } catch {
    // File systems without a disk have a number that sysfs does not know.
    return "";
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) return [];
    throw error;
  }
}
