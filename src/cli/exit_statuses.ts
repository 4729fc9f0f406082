/** The exit statuses as `--help` prints them. */
import { type ErrorCode, EXIT_STATUS } from "../errors.ts";

const MEANING: Readonly<Record<ErrorCode, string>> = {
  INTERNAL: "a bug in ibackup",
  USAGE: "wrong arguments",
  CONFIG: "the config file cannot be read or is not valid",
  NOT_PERMITTED: "not root, or a capability is missing",
  UNSUPPORTED: "this kernel or machine cannot do it",
  DEVICE: "no such device, or not a block device",
  TARGET_BUSY: "the target is mounted, in use, or the source itself",
  TARGET_TOO_SMALL: "the target is smaller than the backup",
  TRACKER: "the tracker failed",
  REPOSITORY_MISSING: "there is no repository there",
  REPOSITORY_EXISTS: "something is there already",
  REPOSITORY_FORMAT: "the repository has a format that this version cannot read",
  LOCKED: "another ibackup works on the same disk",
  STORE_UNREACHABLE: "the store does not answer",
  STORE_DENIED: "the store refuses: credentials, rights, bucket",
  STORE_FULL: "the store has no room left, or a quota is reached",
  BACKUP_UNKNOWN: "no backup of that name, or none that matches",
  CORRUPT_DATA: "an object is damaged or missing",
  CONSISTENCY: "the consistency asked for was not reached; nothing was committed",
  DIFFERENT: "a difference was found",
  IO: "a disk or file could not be read or written",
  UNHEALTHY: "something will stop a backup",
  HOOK: "a hook command failed; after pre-freeze or frozen nothing was committed",
  NO_KEY: "it is sealed, and no identity that opens it was given",
  LOCKED_OBJECT: "an object cannot be removed until its retention ends",
  KEY_CHANGED: "backups would be sealed to a key that this machine does not trust",
  INTERRUPTED: "interrupted by a signal",
};

/** Every command can end with these. */
const ALWAYS: readonly ErrorCode[] = ["INTERNAL", "USAGE", "CONFIG"];
/** Whatever uses a repository can end with these. */
export const REPOSITORY_STATUSES = [
  "REPOSITORY_MISSING",
  "REPOSITORY_FORMAT",
  "STORE_UNREACHABLE",
  "STORE_DENIED",
  "IO",
] as const satisfies readonly ErrorCode[];

export const ALL_STATUSES = Object.keys(EXIT_STATUS) as ErrorCode[];

/** What a command can end with, ascending, with what each means. */
export function exitStatuses(codes: readonly ErrorCode[]): [status: string, meaning: string][] {
  const all = [...new Set<ErrorCode>([...ALWAYS, ...codes, "INTERRUPTED"])]
    .sort((a, b) => EXIT_STATUS[a] - EXIT_STATUS[b])
    .map((code): [string, string] => [String(EXIT_STATUS[code]), MEANING[code]]);
  return [["0", "done"], ...all];
}

/** Lines for the end of a help text. */
export function exitStatusHelp(codes: readonly ErrorCode[]): string {
  const lines = exitStatuses(codes).map(([status, text]) => `${status.padStart(5)}  ${text}`);
  return ["Exit status:", ...lines].join("\n");
}
