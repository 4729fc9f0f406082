/** What the doctor asks of the disks, and of the memory for their bitmaps. */
import { readFileSync } from "node:fs";
import { formatBytes, formatCount } from "../core/units.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { physicalDisks } from "../disk/device_name.ts";
import { type Mount, mountsOf } from "../disk/mounts.ts";
import { blockShiftFor } from "../tracker/tracker.ts";
import { type Finding, fail, failureOf, ok, warn } from "./finding.ts";
import { refuseUntrackable } from "./track.ts";

/** @param paths None: the machine's own disks. */
export function checkDisks(paths: readonly string[]): Finding[] {
  const isNamed = paths.length > 0;
  const disks = isNamed ? paths : physicalDisks();
  if (disks.length === 0) return [warn("disks", "none found", "name a DEVICE; `lsblk` shows them")];
  return disks.map((path) => {
    const finding = checkDisk(path);
    // Nobody asked to back up a disk that was not named.
    const isHarmless = !isNamed && finding.verdict === "fail";
    return isHarmless ? { ...finding, verdict: "warn" as const } : finding;
  });
}

function checkDisk(path: string): Finding {
  const check = `disk ${path}`;
  let device: BlockDevice;
  try {
    device = describeDevice(path);
    refuseUntrackable(device);
  } catch (error) {
    return failureOf(check, error);
  }
  const { identity, sizeBytes, bioBased, wholeDisk } = device;
  const hook = bioBased ? "bio-based" : "blk-mq";
  const found = `${formatBytes(sizeBytes)}, ${hook}, known by its ${identity.kind} ${identity.value}`;
  if (!device.countsWrites) {
    const setting = `/sys/block/${wholeDisk.name}/queue/iostats`;
    return warn(check, `${found}; the kernel does not count its writes`, `\`echo 1 > ${setting}\``);
  }
  if (identity.kind !== "name") return ok(check, found);
  // Works, and after a reboot another disk may have the name.
  return warn(check, found, "give the disk a serial number or a partition table where you can");
}

/** Those whose kernel code can freeze; the rest (vfat, exfat, ntfs3...) cannot. */
const FREEZABLE = new Set(
  "bcachefs btrfs ext2 ext3 ext4 f2fs gfs2 jfs nilfs2 reiserfs xfs".split(" "),
);

/** Without freezing, a disk that is written to is backed up as `quiet` at best. */
export function checkFreezing(paths: readonly string[]): Finding {
  const devices = (paths.length > 0 ? paths : physicalDisks()).flatMap(describeIfPossible);
  return judgeFreezing(devices.flatMap(mountsOf));
}

/** Whether all of these can be frozen, or need not be. */
export function judgeFreezing(mounts: readonly Mount[]): Finding {
  const names = (some: readonly Mount[]): string =>
    [...new Set(some.map(({ fileSystem, mountpoint }) => `${fileSystem} on ${mountpoint}`))].join(
      ", ",
    );
  if (mounts.length === 0) return ok("freezing", "nothing is mounted");
  const others = mounts.filter((it) => !it.readOnly && !FREEZABLE.has(it.fileSystem));
  if (others.length === 0)
    return ok("freezing", `all can be frozen, or are read-only: ${names(mounts)}`);
  const fix = "where it is written to, unmount it for the flush, or accept `--consistency quiet`";
  return warn("freezing", `cannot be frozen: ${names(others)}`, fix);
}

/** The kernel's bitmaps cannot be swapped out, and the pending sets can take as much again. */
export function checkMemory(paths: readonly string[]): Finding {
  const devices = (paths.length > 0 ? paths : physicalDisks()).flatMap(describeIfPossible);
  const neededBytes = devices.reduce((sum, device) => sum + bitmapBytes(device) * 2, 0);
  const availableBytes = readAvailableBytes();
  const needed = `${formatBytes(neededBytes)} for the bitmaps of ${formatCount(devices.length, "disk")}`;
  const found = `${needed} at most, ${formatBytes(availableBytes)} available`;
  if (neededBytes > availableBytes)
    return fail("memory", found, "add memory, or track fewer disks");
  if (neededBytes > availableBytes / 4) return warn("memory", found, "consider adding memory");
  return ok("memory", found);
}

function bitmapBytes({ sectorCount }: BlockDevice): number {
  return Math.ceil(sectorCount / 2 ** blockShiftFor(sectorCount) / 8);
}

/** What is wrong with a disk has been said by its own check. */
function describeIfPossible(path: string): BlockDevice[] {
  try {
    return [describeDevice(path)];
  } catch {
    return [];
  }
}

function readAvailableBytes(): number {
  const line = /^MemAvailable:\s*(\d+) kB$/m.exec(readFileSync("/proc/meminfo", "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}
