/**
 * Where the helper's executable is.
 *
 * In the compiled binary the helper is embedded: it is written out to a folder that nobody but
 * this user can change, and what lies there is checked before every start. From a checkout it is
 * the one that `npm run build` made.
 */
import { constants } from "node:fs";
import { access, readFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { fileURLToPath } from "node:url";
import { IbackupError, messageOf } from "../errors.ts";
import { installExecutable } from "./install_executable.ts";

const CHECKOUT_HELPER = fileURLToPath(
  new URL("../../helper/.output/ibackup-helper", import.meta.url),
);

let embeddedPath: string | undefined;

/**
 * Tells that the helper is embedded. Called by the entry point of the compiled binary.
 *
 * @param path Readable with `readFile`, but not a file that could be executed.
 */
export function useEmbeddedHelper(path: string): void {
  embeddedPath = path;
}

/**
 * The path of the helper, ready to be started. Ask again before every start: the answer is checked
 * each time.
 *
 * @throws IbackupError TRACKER when there is no helper, or no folder where it may be executed.
 */
export async function helperExecutable(): Promise<string> {
  if (embeddedPath === undefined) return await checkoutHelper();
  return await installExecutable("ibackup-helper", await readFile(embeddedPath), helperFolders());
}

/**
 * /run is not among them: Debian mounts it noexec. Early at boot there is none: another file system
 * may still be mounted over /var, and what was written would lie below it for good.
 */
function helperFolders(): string[] {
  if (env["IBACKUP_EARLY"] === "1") return [];
  const { uid, homedir } = userInfo();
  return [...(uid === 0 ? ["/var/lib/ibackup"] : []), join(homedir, ".cache", "ibackup")];
}

async function checkoutHelper(): Promise<string> {
  try {
    await access(CHECKOUT_HELPER, constants.X_OK);
    return CHECKOUT_HELPER;
  } catch (error) {
    throw new IbackupError("TRACKER", `Cannot start the helper "${CHECKOUT_HELPER}"`, {
      why: messageOf(error),
      fix: "run `npm run build`",
      cause: error,
    });
  }
}
