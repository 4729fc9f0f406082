/** The mounts that this process sees, and where a path leads among them. */
import { readFileSync } from "node:fs";

export interface MountInfo {
  mountId: number;
  /** The mount that it is mounted on. */
  parentId: number;
  /** "major:minor" of the file system: the same in all of its mounts. */
  deviceNumber: string;
  mountpoint: string;
  /** "ext4", "xfs"... */
  fileSystem: string;
  /** What was mounted: "/dev/vda1". */
  source: string;
  readOnly: boolean;
}

/** In the order in which they were mounted. */
export function readMountInfo(): MountInfo[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "utf8"));
}

/** @param text /proc/self/mountinfo, as proc(5) describes it. Pure. */
export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split("\n")
    .filter((line) => line.includes(" - "))
    .map((line) => {
      const [before = "", after = ""] = line.split(" - ");
      const fields = before.split(" ");
      const [fileSystem = "", source = "", superOptions = ""] = after.split(" ");
      return {
        mountId: Number(fields[0]),
        parentId: Number(fields[1]),
        deviceNumber: fields[2] ?? "",
        mountpoint: unescapeOctal(fields[4] ?? ""),
        fileSystem,
        source: unescapeOctal(source),
        readOnly: superOptions.split(",").includes("ro"),
      };
    });
}

/**
 * The mount that an absolute path leads to: it crosses from mount to mount as the kernel does, so a
 * mount that lies below another one is never found. Pure; knows nothing of symbolic links.
 */
export function mountAt(path: string, mounts: readonly MountInfo[]): MountInfo | undefined {
  const ids = new Set(mounts.map(({ mountId }) => mountId));
  const isRoot = ({ mountId, parentId }: MountInfo): boolean =>
    !ids.has(parentId) || parentId === mountId;
  let found: MountInfo | undefined;
  for (;;) {
    const at = found;
    const isOn = (mount: MountInfo): boolean =>
      at === undefined ? isRoot(mount) : mount.parentId === at.mountId && mount !== at;
    const [next] = mounts
      .filter((mount) => isOn(mount) && isWithin(path, mount.mountpoint))
      .sort((left, right) => left.mountpoint.length - right.mountpoint.length);
    if (next === undefined) return found;
    found = next;
  }
}

function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

/** mountinfo writes space, tab, newline and backslash as `\ooo`. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
