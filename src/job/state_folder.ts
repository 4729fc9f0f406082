/**
 * The folder for what a machine must not forget: its own key, and what it has seen in repositories.
 * Losing it loses no backup.
 */
import { openPrivateFolder } from "./private_folder.ts";

const DEFAULT_FOLDER = "/var/lib/ibackup";

/**
 * Makes the folder where needed and checks it: a real folder, root's, that nobody else can enter.
 *
 * @param override A folder to use instead, for tests.
 * @throws IbackupError NOT_PERMITTED or USAGE.
 */
export function openStateFolder(override: string | undefined): string {
  const path = override ?? DEFAULT_FOLDER;
  return openPrivateFolder({ path, name: "state folder", variable: "IBACKUP_STATE_DIR" });
}
