/** A small disk of our own, to try things on. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { IbackupError } from "../errors.ts";
import { alignedBytes } from "../runtime/aligned.ts";

export interface ScratchDisk {
  /** Of the block device. */
  readonly path: string;
  /** Writes bytes of 0xa5, through to the disk; `direct` past the page cache. */
  write(offsetBytes: number, lengthBytes: number, how: { direct: boolean }): void;
  close(): void;
}

/**
 * Makes a loop disk over a sparse file, which is removed at once. The kernel takes the disk away
 * when it is closed, and also when this process dies.
 *
 * @throws IbackupError UNSUPPORTED where there are no loop disks.
 */
export function openScratchDisk(file: string, sizeBytes: number): ScratchDisk {
  writeFileSync(file, "", { mode: 0o600, flag: "wx" });
  let path: string;
  let descriptor: number;
  try {
    truncateSync(file, sizeBytes);
    path = losetup("--find", "--show", file);
    descriptor = openSync(path, "r+");
    // It is in use, so this only marks it: it goes with its last user.
    losetup("--detach", path);
  } finally {
    rmSync(file);
  }
  return {
    path,
    write: (offsetBytes, lengthBytes, { direct }) => {
      writeThrough(path, direct ? constants.O_DIRECT : 0, { offsetBytes, lengthBytes });
    },
    close: () => closeSync(descriptor),
  };
}

function writeThrough(
  path: string,
  flags: number,
  { offsetBytes, lengthBytes }: { offsetBytes: number; lengthBytes: number },
): void {
  const descriptor = openSync(path, constants.O_WRONLY | flags);
  try {
    writeSync(descriptor, alignedBytes(lengthBytes).fill(0xa5), 0, lengthBytes, offsetBytes);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function losetup(...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync("losetup", args, { encoding: "utf8" });
  if (status === 0) return stdout.trim();
  throw new IbackupError("UNSUPPORTED", "Cannot make a scratch disk", {
    why: error?.message ?? `losetup: ${stderr.trim()}`,
    fix: "install losetup (package mount), and load the driver: `modprobe loop`",
  });
}
