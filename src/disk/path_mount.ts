/** Which mount holds a path. */
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { readMountInfo } from "./mount_info.ts";

/**
 * Whether one of the mounts is of the file system that holds the path, or would hold it if it
 * existed. Bind mounts, and the subvolumes of one btrfs, are of one file system.
 */
export function liesOn(path: string, mountIds: readonly number[]): boolean {
  const mounts = readMountInfo();
  const numberOf = (id: number): string | undefined =>
    mounts.find(({ mountId }) => mountId === id)?.deviceNumber;
  const number = numberOf(mountIdOf(path));
  return number !== undefined && mountIds.some((id) => numberOf(id) === number);
}

/** As the kernel sees it, whatever is mounted over what and which links the path has. */
function mountIdOf(path: string): number {
  let there = path;
  while (!existsSync(there) && there !== dirname(there)) there = dirname(there);
  const descriptor = openSync(there, "r");
  try {
    const text = readFileSync(`/proc/self/fdinfo/${descriptor}`, "utf8");
    return Number(/^mnt_id:\s*(\d+)$/m.exec(text)?.[1]);
  } finally {
    closeSync(descriptor);
  }
}
