/** The folder for what can be found out again, at a price: digests. It may be deleted any time. */
import { openPrivateFolder } from "./private_folder.ts";

const DEFAULT_FOLDER = "/var/cache/ibackup";

/**
 * Makes the folder where needed and checks it: a real folder, root's, that nobody else can enter.
 *
 * @param override A folder to use instead, for tests.
 * @throws IbackupError NOT_PERMITTED or USAGE.
 */
export function openCacheFolder(override: string | undefined): string {
  const path = override ?? DEFAULT_FOLDER;
  return openPrivateFolder({ path, name: "cache folder", variable: "IBACKUP_CACHE_DIR" });
}
