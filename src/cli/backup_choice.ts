/** Which backup a command means, as the user says it. */
import { parseInstant } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import type { BackupRequest } from "../job/catalogue.ts";
import type { Session } from "./command.ts";

export const BACKUP_ARGUMENT = "id of a backup, the beginning of one, or `latest`";

interface Given {
  /** An id, its beginning, or "latest". */
  backup?: string | undefined;
  /** RFC 3339. */
  at?: string | undefined;
  disk?: string | undefined;
}

/** Without id and time the latest is meant. @throws IbackupError USAGE. */
export function requestOf(given: Given, { settings }: Pick<Session, "settings">): BackupRequest {
  const { backup, at, disk } = given;
  if (backup !== undefined && at !== undefined) {
    throw new IbackupError("USAGE", "Cannot tell which backup is meant", {
      why: `both "${backup}" and --at "${at}" were given`,
      fix: "leave one of them out",
    });
  }
  const scope = { vmId: settings.vmGiven, diskName: disk };
  return { choice: choiceOf(backup, at), scope, vmId: settings.vmId };
}

function choiceOf(backup: string | undefined, at: string | undefined): BackupRequest["choice"] {
  if (at !== undefined) return { at: parseInstant(at) };
  return backup === undefined || backup === "latest" ? "latest" : { id: backup };
}
