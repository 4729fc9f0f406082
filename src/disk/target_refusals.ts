/** What cannot be restored to, and why. */
import type { Stats } from "node:fs";
import { lstat } from "node:fs/promises";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import type { BlockDevice } from "./block_device.ts";

/** @throws IbackupError TARGET_TOO_SMALL. */
export function refuseSmall(device: BlockDevice, sizeBytes: number): void {
  if (device.sizeBytes >= sizeBytes) return;
  throw new IbackupError("TARGET_TOO_SMALL", `Cannot restore to "${device.path}"`, {
    why: `it has ${device.sizeBytes} bytes and the backup needs ${sizeBytes}`,
    fix: "name a target that is at least as large",
  });
}

/** @throws IbackupError TARGET_BUSY when what was opened is not the device that was looked at. */
export function refuseOther(expected: BlockDevice, opened: BlockDevice): void {
  const sameness = ({ major, minor, diskSequence, sizeBytes }: BlockDevice): string =>
    [major, minor, diskSequence, sizeBytes].join();
  if (sameness(expected) === sameness(opened)) return;
  throw busy(
    expected.path,
    "another device has taken its place meanwhile",
    "look which one it is (`lsblk`), and run the restore again",
  );
}

export interface FileTargetOptions {
  sizeBytes: number;
  /** Write into the file that is there instead of making a new one. */
  inPlace: boolean;
  /** Replace a file that is there. */
  force: boolean;
}

/**
 * Whether the file can be made, or written to in place.
 *
 * @returns What is there.
 * @throws IbackupError TARGET_BUSY; DEVICE for a device that is not there, which is no file.
 */
export async function checkFileTarget(
  path: string,
  { sizeBytes, inPlace, force }: FileTargetOptions,
): Promise<Stats | undefined> {
  if (path === "" || path.endsWith("/")) {
    throw busy(path, "that is no name of a file", "name a block device or a new file");
  }
  const present = await lstatOrUndefined(path);
  if (present === undefined) {
    if (/^\/dev\/(?!shm\/)/.test(path)) throw noDevice(path);
    return undefined;
  }
  if (!present.isFile()) {
    throw busy(path, "something that is not a file is there", "name a block device or a new file");
  }
  if (force) return present;
  if (inPlace && present.size !== sizeBytes) throw otherSize(path, present.size, sizeBytes);
  if (!inPlace) {
    const fix = "name another file, or add --force to replace it";
    throw busy(path, "a file of that name is there", fix);
  }
  return present;
}

export function busy(path: string, why: string, fix: string): IbackupError {
  return new IbackupError("TARGET_BUSY", `Cannot restore to "${path}"`, { why, fix });
}

function noDevice(path: string): IbackupError {
  return new IbackupError("DEVICE", `Cannot restore to "${path}"`, {
    why: "there is no such device, and a file in /dev would only be in memory",
    fix: "name a device that exists; `lsblk` shows them",
  });
}

function otherSize(path: string, sizeBytes: number, neededBytes: number): IbackupError {
  const why = `the file has ${sizeBytes} bytes and the backup ${neededBytes}: it is no copy of it`;
  return busy(path, why, "name another file, or add --force to overwrite it");
}

export function ioError(what: string, why: string, cause?: unknown): IbackupError {
  const fix = "check the target with `dmesg` and its free space; it holds no valid copy now";
  return new IbackupError("IO", what, { why, fix, cause });
}

export async function lstatOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw ioError(`Cannot look at "${path}"`, messageOf(error), error);
  }
}
