/** From what the kernel calls a disk to a path that a user knows. */
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename, join } from "node:path";
import { systemCodeOf } from "../errors.ts";

/**
 * The path of the disk, or of the partition of it that begins at the sector: "/dev/vda1".
 * For what is no longer there: "8:16", or "8:16 at sector 2048".
 */
export function devicePathOf(
  { major, minor }: { major: number; minor: number },
  startSector: number,
): string {
  const number = `${major}:${minor}`;
  try {
    const folder = realpathSync(`/sys/dev/block/${number}`);
    if (startSector === 0) return `/dev/${nodeName(folder)}`;
    const partition = readdirSync(folder).find((name) => startOf(folder, name) === startSector);
    if (partition !== undefined) return `/dev/${nodeName(join(folder, partition))}`;
  } catch (error) {
    if (!["ENOENT", "ENODEV"].includes(systemCodeOf(error) ?? "")) throw error;
  }
  return startSector === 0 ? number : `${number} at sector ${startSector}`;
}

/** Where a partition begins; undefined for what is no partition. */
function startOf(folder: string, name: string): number | undefined {
  try {
    return Number(readFileSync(join(folder, name, "start"), "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) return undefined;
    throw error;
  }
}

/** The kernel writes the slashes of names like "cciss/c0d0" as exclamation marks. */
function nodeName(folder: string): string {
  return basename(folder).replaceAll("!", "/");
}

/** All block devices that hold anything: disks, partitions, volumes under their own names. */
export function blockDevices(): { path: string; sizeBytes: number }[] {
  return readdirSync("/sys/class/block")
    .map((name) => ({ path: pathOf(name), sizeBytes: sectorsOf(name) * 512 }))
    .filter(({ sizeBytes }) => sizeBytes > 0)
    .sort((a, b) => (a.path < b.path ? -1 : 1));
}

function pathOf(name: string): string {
  const volume = join("/sys/class/block", name, "dm/name");
  return `/dev/${existsSync(volume) ? `mapper/${readFileSync(volume, "utf8").trim()}` : nodeName(name)}`;
}

/** A device may go while it is looked at. */
function sectorsOf(name: string): number {
  try {
    return Number(readFileSync(join("/sys/class/block", name, "size"), "utf8"));
  } catch (error) {
    if (["ENOENT", "ENODEV"].includes(systemCodeOf(error) ?? "")) return 0;
    throw error;
  }
}

/** Paths of the machine's own disks: not loop, RAM and zram disks, nor drives without a medium. */
export function physicalDisks(): string[] {
  return readdirSync("/sys/block")
    .filter((name) => !/^(loop|ram|zram|sr|fd|nbd)\d/.test(name))
    .filter((name) => Number(readFileSync(`/sys/block/${name}/size`, "utf8")) > 0)
    .map((name) => `/dev/${nodeName(name)}`)
    .sort();
}
