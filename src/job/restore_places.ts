/** The block devices of this machine, as places to restore to. */
import { readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import {
  type BlockDevice,
  dependentsOf,
  describeDevice,
  devicesBelow,
} from "../disk/block_device.ts";
import { contentsOf } from "../disk/contents.ts";
import { blockDevices } from "../disk/device_name.ts";
import { type Obstacle, obstacleOn } from "../disk/device_users.ts";
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

/**
 * @param opened Leads to it for certain, once it is open.
 * @throws IbackupError DEVICE when it is no block device.
 */
export async function lookAtRestorePlace(
  context: JobContext,
  path: string,
  opened = path,
): Promise<RestorePlace> {
  return lookAt(path, await trackedNames(context), opened);
}

function lookAt(path: string, tracked: ReadonlySet<string>, opened = path): RestorePlace {
  const device = { ...describeDevice(opened), path };
  const mounts = mountsOf(device);
  return {
    path,
    sizeBytes: device.sizeBytes,
    model: modelOf(device),
    contents: contentsOf(opened, device.name),
    mountedAt: [...new Set(mounts.map(({ mountpoint }) => mountpoint))],
    obstacle: obstacleOf(device, tracked),
    device,
  };
}

function obstacleOf(device: BlockDevice, tracked: ReadonlySet<string>): Obstacle | undefined {
  const obstacle = obstacleOn(device);
  if (obstacle !== undefined || !isTracked(device, tracked)) return obstacle;
  return {
    why: "it is tracked: backups are taken of it, or of what lies below or on it",
    fix: `\`ibackup track stop ${device.path}\` first, or name another target`,
  };
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

function modelOf({ name, wholeDisk }: BlockDevice): string | null {
  const folder = join("/sys/class/block", wholeDisk.name);
  const file = name === wholeDisk.name && readAttribute(join(folder, "loop/backing_file"));
  return file || readAttribute(join(folder, "device/model")) || null;
}

/** Undefined where the driver has none, or the device is gone. */
function readAttribute(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}
