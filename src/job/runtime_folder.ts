/** The folder for what lives until the next boot: pending sets and locks. */
import { accessSync, constants, lstatSync, mkdirSync, type Stats, statfsSync } from "node:fs";
import { isAbsolute } from "node:path";
import { geteuid } from "node:process";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";

/** What statfs(2) calls tmpfs. */
const TMPFS_MAGIC = 0x0102_1994;

/** In order of preference. Debian has a tmpfs on both; small images may lack the first. */
const PARENTS = ["/run", "/dev/shm"];

/**
 * Makes the folder where needed and checks it: a real folder, root's, that nobody else can enter.
 *
 * @param override A folder to use instead, for tests: it need not be on tmpfs.
 * @throws IbackupError NOT_PERMITTED, UNSUPPORTED where no tmpfs is mounted, or USAGE.
 */
export function openRuntimeFolder(override: string | undefined): string {
  const folder = override ?? defaultFolder();
  if (!isAbsolute(folder)) {
    throw new IbackupError("USAGE", `Cannot use the runtime folder "${folder}"`, {
      why: "its path is not absolute",
      fix: "set IBACKUP_RUNTIME_DIR to an absolute path, or unset it",
    });
  }
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw refused(folder, messageOf(error), error);
  }
  const fault = faultOf(lstatSync(folder));
  if (fault !== undefined) throw refused(folder, fault);
  try {
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    // It is as it should be, and we are not root.
    throw refused(folder, messageOf(error), error);
  }
  return folder;
}

export function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS_MAGIC;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** Somebody else could change a pending set, and a written block would be missing from a backup. */
function faultOf(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "it is a symbolic link";
  if (!stats.isDirectory()) return "it is not a folder";
  if (stats.uid !== 0) return `it belongs to user ${stats.uid}, not to root`;
  if ((stats.mode & 0o077) !== 0) {
    return `others may enter it: its mode is ${(stats.mode & 0o777).toString(8)}, not 700`;
  }
  return undefined;
}

function defaultFolder(): string {
  const parent = PARENTS.find(isTmpfs);
  if (parent !== undefined) return `${parent}/ibackup`;
  throw new IbackupError("UNSUPPORTED", "Cannot keep the numbers of the changed blocks", {
    why: `none of ${PARENTS.join(", ")} is a tmpfs`,
    fix: "mount one: `mount -t tmpfs -o mode=1777 tmpfs /dev/shm`",
  });
}

function refused(folder: string, why: string, cause?: unknown): IbackupError {
  const fix =
    geteuid?.() === 0
      ? `see who made it, and remove it: \`rm -r ${folder}\`; ibackup makes it anew`
      : "run ibackup as root";
  const what = `Cannot use the runtime folder "${folder}"`;
  return new IbackupError("NOT_PERMITTED", what, { why, fix, cause });
}
