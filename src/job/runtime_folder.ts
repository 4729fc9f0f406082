/** The folder for what lives until the next boot: pending sets and locks. */
import { statfsSync } from "node:fs";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { openPrivateFolder } from "./private_folder.ts";

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
  const path = override ?? defaultFolder();
  return openPrivateFolder({ path, name: "runtime folder", variable: "IBACKUP_RUNTIME_DIR" });
}

export function isTmpfs(path: string): boolean {
  try {
    return statfsSync(path).type === TMPFS_MAGIC;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return false;
    throw error;
  }
}

function defaultFolder(): string {
  const parent = PARENTS.find(isTmpfs);
  if (parent !== undefined) return `${parent}/ibackup`;
  throw new IbackupError("UNSUPPORTED", "Cannot keep the numbers of the changed blocks", {
    why: `none of ${PARENTS.join(", ")} is a tmpfs`,
    fix: "mount one: `mount -t tmpfs -o mode=1777 tmpfs /dev/shm`",
  });
}
