/** Folders that only root can enter. */
import { accessSync, constants, lstatSync, mkdirSync, type Stats } from "node:fs";
import { isAbsolute } from "node:path";
import { geteuid } from "node:process";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";

export interface PrivateFolder {
  path: string;
  /** For messages: "runtime folder". */
  name: string;
  /** The environment variable that names another. */
  variable: string;
}

/**
 * Makes the folder where needed and checks it: a real folder, root's, that nobody else can enter.
 *
 * @returns Its path.
 * @throws IbackupError NOT_PERMITTED, or USAGE for a relative path.
 */
export function openPrivateFolder(folder: PrivateFolder): string {
  const { path, name, variable } = folder;
  if (!isAbsolute(path)) {
    throw new IbackupError("USAGE", `Cannot use the ${name} "${path}"`, {
      why: "its path is not absolute",
      fix: `set ${variable} to an absolute path, or unset it`,
    });
  }
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (systemCodeOf(error) !== "EEXIST") throw refused(folder, messageOf(error), error);
  }
  const fault = faultOf(lstatSync(path));
  if (fault !== undefined) throw refused(folder, fault);
  try {
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    // It is as it should be, and we are not root.
    throw refused(folder, messageOf(error), error);
  }
  return path;
}

/** Somebody else could change what lies there, and a written block would be missing from a backup. */
function faultOf(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return "it is a symbolic link";
  if (!stats.isDirectory()) return "it is not a folder";
  if (stats.uid !== 0) return `it belongs to user ${stats.uid}, not to root`;
  if ((stats.mode & 0o077) !== 0) {
    return `others may enter it: its mode is ${(stats.mode & 0o777).toString(8)}, not 700`;
  }
  return undefined;
}

function refused({ path, name }: PrivateFolder, why: string, cause?: unknown): IbackupError {
  const fix =
    geteuid?.() === 0
      ? `see who made it, and remove it: \`rm -r ${path}\`; ibackup makes it anew`
      : "run ibackup as root";
  const what = `Cannot use the ${name} "${path}"`;
  return new IbackupError("NOT_PERMITTED", what, { why, fix, cause });
}
