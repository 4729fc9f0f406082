/** What loop devices lie on. They claim nothing of it: to the kernel it is in nobody's use. */
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename } from "node:path";
import { systemCodeOf } from "../errors.ts";
import { splitDeviceNumber } from "./block_device.ts";

/**
 * The files behind loop devices, by the kernel's names of these. The paths are the kernel's: one on a
 * mount that is no longer anywhere says nothing of its disk.
 */
export function loopFiles(): Map<string, string> {
  const files = new Map<string, string>();
  const names = existsSync("/sys/block") ? readdirSync("/sys/block") : [];
  for (const name of names.filter((it) => it.startsWith("loop"))) {
    try {
      const file = readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8");
      files.set(name, file.replace(/\n$/, ""));
    } catch (error) {
      // It has no file, or lost it just now.
      if (!["ENOENT", "ENXIO"].includes(systemCodeOf(error) ?? "")) throw error;
    }
  }
  return files;
}

/**
 * One and the same for all names of a device, and for all links to a file.
 *
 * @param path Where nothing is to be found there, it stands for itself.
 */
export function storageIdOf(path: string): string {
  try {
    const stats = statSync(path);
    if (!stats.isBlockDevice()) return `file ${stats.dev}:${stats.ino}`;
    const { major, minor } = splitDeviceNumber(stats.rdev);
    return deviceIdOf(basename(realpathSync(`/sys/dev/block/${major}:${minor}`)));
  } catch (error) {
    if (systemCodeOf(error) === undefined) throw error;
    return `path ${path}`;
  }
}

/** @param name The kernel's. */
export function deviceIdOf(name: string): string {
  return `device ${name}`;
}
