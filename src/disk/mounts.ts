/** Which file systems of a disk are mounted here. */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { basename } from "node:path";
import { type BlockDevice, dependentsOf, splitDeviceNumber } from "./block_device.ts";

export interface Mount {
  mountpoint: string;
  /** "ext4", "xfs"... */
  fileSystem: string;
  /** What was mounted: "/dev/vda1". */
  source: string;
  readOnly: boolean;
}

interface MountInfo extends Mount {
  /** "major:minor" of the file system. */
  deviceNumber: string;
}

/**
 * Mounts of the device, of its partitions, and of whatever is stacked on them, in the order in
 * which they were mounted. Bind mounts of one file system all appear.
 */
export function mountsOf(device: BlockDevice): Mount[] {
  const names = new Set(dependentsOf(device));
  const isOnDevice = ({ source, deviceNumber }: MountInfo): boolean =>
    names.has(kernelNameOf(source)) || names.has(nameOfNumber(deviceNumber));
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"))
    .filter(isOnDevice)
    .map(({ deviceNumber: _, ...mount }) => mount);
}

/** @param text /proc/self/mountinfo, as proc(5) describes it. Pure. */
export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split("\n")
    .filter((line) => line.includes(" - "))
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ");
      const fields = before.split(" ");
      const [fileSystem = "", source = "", superOptions = ""] = after.split(" ");
      return {
        deviceNumber: fields[2] ?? "",
        mountpoint: unescapeOctal(fields[4] ?? ""),
        fileSystem,
        source: unescapeOctal(source),
        readOnly: superOptions.split(",").includes("ro"),
      };
    });
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

/** mountinfo writes space, tab, newline and backslash as `\ooo`. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
