/** What the doctor asks of the disks, and of the memory for their bitmaps. */
import { readFileSync } from "node:fs";
import { formatBytes, formatCount } from "../core/units.ts";
import { type BlockDevice, describeDevice } from "../disk/block_device.ts";
import { physicalDisks } from "../disk/device_name.ts";
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
