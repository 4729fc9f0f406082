/** The block devices of this machine, as places to restore to. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type BlockDevice,
  dependentsOf,
  describeDevice,
  devicesBelow,
} from "../disk/block_device.ts";
import { contentsOf } from "../disk/contents.ts";
import { blockDevices } from "../disk/device_name.ts";
import { mountsOf } from "../disk/mounts.ts";
import { IbackupError } from "../errors.ts";
import type { JobContext } from "./context.ts";
import { statusOrNone } from "./due.ts";
import { pathOf } from "./track.ts";

export interface RestorePlace {
  path: string;
  sizeBytes: number;
  /** Of a loop disk: its file. */
  model: string | null;
  /** What was recognised on it, in words. */
  contents: string[];
  mountedAt: string[];
  /** Why nothing can be restored to it. */
  obstacle: Obstacle | undefined;
  /** What it is: another one may have the path later. */
  device: BlockDevice;
}

interface Obstacle {
  why: string;
  fix: string;
}

/** Those that went away meanwhile are left out. */
export async function listRestorePlaces(context: JobContext): Promise<RestorePlace[]> {
  const tracked = await trackedNames(context);
  return blockDevices().flatMap(({ path }) => {
    try {
      return [lookAt(path, tracked)];
    } catch (error) {
      if (error instanceof IbackupError && error.code === "DEVICE") return [];
      throw error;
    }
  });
}

/** @throws IbackupError DEVICE when it is no block device. */
export async function lookAtRestorePlace(context: JobContext, path: string): Promise<RestorePlace> {
  return lookAt(path, await trackedNames(context));
}

function lookAt(path: string, tracked: ReadonlySet<string>): RestorePlace {
  const device = describeDevice(path);
  const mounts = mountsOf(device);
  return {
    path,
    sizeBytes: device.sizeBytes,
    model: modelOf(device),
    contents: contentsOf(path, device.name),
    mountedAt: [...new Set(mounts.map(({ mountpoint }) => mountpoint))],
    obstacle: obstacleOf(device, mounts[0], tracked),
    device,
  };
}

function obstacleOf(
  device: BlockDevice,
  mount: { source: string; mountpoint: string } | undefined,
  tracked: ReadonlySet<string>,
): Obstacle | undefined {
  const other = "or name another target";
  if (mount !== undefined) {
    const why = `${mount.source} is mounted at ${mount.mountpoint}`;
    return { why, fix: `unmount it (\`umount ${mount.mountpoint}\`), ${other}` };
  }
  if (device.readOnly) return { why: "it is read-only", fix: "name another target" };
  const above = dependentsOf(device);
  const swap = swapDevices().find((name) => above.includes(name));
  if (swap !== undefined) {
    return { why: `the system swaps to ${swap}`, fix: `\`swapoff /dev/${swap}\`, ${other}` };
  }
  const user = above.find((name) => name !== device.name && !isPartition(name));
  if (user !== undefined) {
    return { why: `${user} lies on it`, fix: `take ${user} apart first, ${other}` };
  }
  if (isTracked(device, tracked)) {
    const why = "it is tracked: backups are taken of it, or of what lies below or on it";
    return { why, fix: `\`ibackup track stop ${device.path}\` first, ${other}` };
  }
  return undefined;
}

/** What is tracked may be the device, the disk below a partition, or a partition of the disk. */
function isTracked(device: BlockDevice, tracked: ReadonlySet<string>): boolean {
  const below = devicesBelow(device).map(({ major, minor }) =>
    basename(realpathSync(`/sys/dev/block/${major}:${minor}`)),
  );
  return [...below, ...dependentsOf(device)].some((name) => tracked.has(name));
}

/** The kernel's names of the devices that are tracked. */
async function trackedNames(context: JobContext): Promise<ReadonlySet<string>> {
  const { slots } = await statusOrNone(context);
  return new Set(slots.map((slot) => pathOf(slot).replace("/dev/", "").replaceAll("/", "!")));
}

/** The kernel's names of the devices that it swaps to. */
function swapDevices(): string[] {
  const lines = readFileSync("/proc/swaps", "utf8").split("\n").slice(1);
  return lines.flatMap((line) => {
    const [path = ""] = line.split(/\s/);
    return path.startsWith("/dev/") && existsSync(path) ? [basename(realpathSync(path))] : [];
  });
}

function modelOf({ name, wholeDisk }: BlockDevice): string | null {
  const folder = join("/sys/class/block", wholeDisk.name);
  const file = name === wholeDisk.name && readAttribute(join(folder, "loop/backing_file"));
  return file || readAttribute(join(folder, "device/model")) || null;
}

function isPartition(name: string): boolean {
  return existsSync(join("/sys/class/block", name, "partition"));
}

/** Undefined where the driver has none, or the device is gone. */
function readAttribute(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
