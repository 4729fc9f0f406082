/**
 * What the kernel says about a block device, read from sysfs.
 *
 * A device name alone proves nothing after a reboot, so `identity` prefers what stays with the
 * disk: its serial number, then its world-wide name, then the id of its partition table.
 */
import { existsSync, readdirSync, readFileSync, realpathSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import { readPartitionTableId } from "./partition_table.ts";

export interface DiskIdentity {
  kind: "serial" | "wwn" | "ptuuid" | "name";
  value: string;
}

export interface DeviceNumber {
  major: number;
  minor: number;
}

export interface BlockDevice {
  /** As the user gave it. */
  path: string;
  /** The kernel's name: "vda1". */
  name: string;
  major: number;
  minor: number;
  /** The whole disk that it is, or that it is a partition of. */
  wholeDisk: { name: string; major: number; minor: number };
  /** First 512-byte sector on the whole disk; 0 for a whole disk. */
  startSector: number;
  sectorCount: number;
  sizeBytes: number;
  logicalBlockBytes: number;
  readOnly: boolean;
  /** True when the driver takes bios and has no request queue (device mapper, md, zram). */
  bioBased: boolean;
  /** "none" for ordinary disks; others cannot be tracked. */
  zoned: string;
  dax: boolean;
  /** False when the kernel does not count what passes (queue/iostats is 0). */
  countsWrites: boolean;
  /** Differs between two media that had the same name in one boot. Absent before Linux 5.15. */
  diskSequence: number | undefined;
  identity: DiskIdentity;
}

const SYSFS_DEVICES = "/sys/dev/block";

/** @throws IbackupError DEVICE when there is no such device or it is no block device. */
export function describeDevice(path: string): BlockDevice {
  const number = deviceNumberOf(path);
  const folder = sysfsFolderOf(path, number);
  const partition = readSysfs(folder, "partition");
  const wholeFolder = partition === undefined ? folder : dirname(folder);
  const sectorCount = numberIn(folder, "size") ?? 0;
  if (sectorCount === 0) {
    throw new IbackupError("DEVICE", `Cannot use "${path}"`, {
      why: "the device has no medium: its size is 0",
      fix: "attach a disk, or name another device; `lsblk` shows them",
    });
  }
  return {
    path,
    name: basename(folder),
    ...number,
    wholeDisk: { name: basename(wholeFolder), ...parseDeviceNumber(readSysfs(wholeFolder, "dev")) },
    startSector: partition === undefined ? 0 : (numberIn(folder, "start") ?? 0),
    sectorCount,
    sizeBytes: sectorCount * 512,
    logicalBlockBytes: numberIn(wholeFolder, "queue/logical_block_size") ?? 512,
    readOnly: readSysfs(folder, "ro") === "1",
    bioBased: !existsSync(join(wholeFolder, "mq")),
    zoned: readSysfs(wholeFolder, "queue/zoned") ?? "none",
    dax: readSysfs(wholeFolder, "queue/dax") === "1",
    countsWrites: readSysfs(wholeFolder, "queue/iostats") !== "0",
    diskSequence: numberIn(wholeFolder, "diskseq"),
    identity: identityOf(path, wholeFolder, partition),
  };
}

/** Disks and partitions that use this device or a partition of it (device mapper, md...). */
export function dependentsOf(device: Pick<BlockDevice, "name">): string[] {
  const found = new Set<string>([device.name]);
  const visit = (folder: string): void => {
    for (const holder of listFolder(join(folder, "holders"))) {
      if (found.has(holder)) continue;
      found.add(holder);
      visit(realpathSync(join("/sys/class/block", holder)));
    }
    for (const child of listFolder(folder)) {
      if (!existsSync(join(folder, child, "partition"))) continue;
      found.add(child);
      visit(join(folder, child));
    }
  };
  visit(realpathSync(join("/sys/class/block", device.name)));
  return [...found];
}

/**
 * The devices that this one lies on: its whole disk, those of which device mapper or md makes it,
 * and theirs. What lies on another comes after it.
 */
export function devicesBelow(device: BlockDevice): DeviceNumber[] {
  const found = new Map<string, DeviceNumber>();
  const visit = (folder: string): void => {
    const isPartition = readSysfs(folder, "partition") !== undefined;
    const slaves = listFolder(join(folder, "slaves"));
    const below = slaves.map((slave) => realpathSync(join("/sys/class/block", slave)));
    if (isPartition) below.push(dirname(folder));
    for (const each of below) {
      if (found.has(each)) continue;
      visit(each);
      found.set(each, parseDeviceNumber(readSysfs(each, "dev")));
    }
  };
  visit(realpathSync(join("/sys/class/block", device.name)));
  return [...found.values()];
}

function deviceNumberOf(path: string): { major: number; minor: number } {
  let stats: Stats;
  try {
    stats = statSync(path);
  } catch (error) {
    throw new IbackupError("DEVICE", `Cannot find the device "${path}"`, {
      why: messageOf(error),
      fix: "name a device that exists; `lsblk` shows them",
      cause: error,
    });
  }
  if (!stats.isBlockDevice()) {
    throw new IbackupError("DEVICE", `Cannot use "${path}"`, {
      why: "it is not a block device",
      fix: "name a disk such as /dev/vda; an image file needs `losetup --direct-io=on` first",
    });
  }
  return splitDeviceNumber(stats.rdev);
}

/** The encoding that glibc gives `st_rdev`. */
export function splitDeviceNumber(rdev: number): { major: number; minor: number } {
  const number = BigInt(rdev);
  return {
    major: Number(((number >> 8n) & 0xfffn) | ((number >> 32n) & 0xffff_f000n)),
    minor: Number((number & 0xffn) | ((number >> 12n) & 0xffff_ff00n)),
  };
}

function sysfsFolderOf(path: string, number: { major: number; minor: number }): string {
  try {
    return realpathSync(join(SYSFS_DEVICES, `${number.major}:${number.minor}`));
  } catch (error) {
    throw new IbackupError("DEVICE", `Cannot use "${path}"`, {
      why: `the kernel has no block device ${number.major}:${number.minor}`,
      fix: "the device node is stale; name a device that `lsblk` shows",
      cause: error,
    });
  }
}

function identityOf(
  path: string,
  wholeFolder: string,
  partition: string | undefined,
): DiskIdentity {
  const suffix = partition === undefined ? "" : `-part${partition}`;
  const name = basename(wholeFolder);
  const known: [DiskIdentity["kind"], string | undefined][] = [
    ["serial", readSysfs(wholeFolder, "serial") ?? readSysfs(wholeFolder, "device/serial")],
    ["wwn", readSysfs(wholeFolder, "wwid") ?? readSysfs(wholeFolder, "device/wwid")],
    ["wwn", readSysfs(wholeFolder, "dm/uuid") ?? readSysfs(wholeFolder, "md/uuid")],
    ["ptuuid", readPartitionTableId(partition === undefined ? path : `/dev/${name}`)],
  ];
  for (const [kind, value] of known) {
    if (value !== undefined && value !== "") return { kind, value: value + suffix };
  }
  return { kind: "name", value: name + suffix };
}

function parseDeviceNumber(text: string | undefined): DeviceNumber {
  const [major, minor] = (text ?? "").split(":").map(Number);
  return { major: major ?? 0, minor: minor ?? 0 };
}

function numberIn(folder: string, file: string): number | undefined {
  const text = readSysfs(folder, file);
  return text === undefined || text === "" ? undefined : Number(text);
}

function readSysfs(folder: string, file: string): string | undefined {
  try {
    return readFileSync(join(folder, file), "utf8").trim();
  } catch (error) {
    // Some attributes exist and cannot be read where the driver has no value for them.
    if (
      ["ENOENT", "ENODEV", "EINVAL", "ENXIO", "EIO", "ENOTDIR"].includes(systemCodeOf(error) ?? "")
    )
      return undefined;
    throw error;
  }
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}
