/**
 * The failures that a user or a script can act on, and the exit status of each.
 *
 * Anything else that reaches `main.ts` is a bug in ibackup: it exits 1 with a stack.
 * The table is printed in README.md; `test/tidy.test.ts` holds the two together.
 */
export const EXIT_STATUS = {
  /** A bug in ibackup. */
  INTERNAL: 1,
  /** Wrong arguments. */
  USAGE: 2,
  /** The config file cannot be read or is not valid. */
  CONFIG: 3,
  /** Not root, or a capability is missing. */
  NOT_PERMITTED: 4,
  /** This kernel or machine cannot do it: no BTF, no bpffs, zoned disk... */
  UNSUPPORTED: 5,
  /** No such device, or not a block device. */
  DEVICE: 6,
  /** The target is mounted, in use, or the source itself. */
  TARGET_BUSY: 7,
  /** The target is smaller than the backup. */
  TARGET_TOO_SMALL: 8,
  /** The tracker failed. */
  TRACKER: 9,
  /** There is no repository there. */
  REPOSITORY_MISSING: 10,
  /** Something is there already. */
  REPOSITORY_EXISTS: 11,
  /** The repository has a format that this version cannot read. */
  REPOSITORY_FORMAT: 12,
  /** Another ibackup works on the same disk. */
  LOCKED: 13,
  /** The store does not answer. */
  STORE_UNREACHABLE: 14,
  /** The store refuses: credentials, rights, bucket. */
  STORE_DENIED: 15,
  /** The store has no room left, or a quota is reached. */
  STORE_FULL: 16,
  /** No backup of that name, or none that matches. */
  BACKUP_UNKNOWN: 17,
  /** An object is damaged or missing. */
  CORRUPT_DATA: 18,
  /** The consistency asked for was not reached; nothing was committed. */
  CONSISTENCY: 19,
  /** `compare` or `verify` found a difference. */
  DIFFERENT: 20,
  /** A disk or file could not be read or written. */
  IO: 21,
  /** `doctor` found something that will stop a backup. */
  UNHEALTHY: 22,
  /** A hook command failed. */
  HOOK: 23,
  /** It is sealed, and no identity that opens it was given. */
  NO_KEY: 24,
  /** The store keeps an object until its retention ends. */
  LOCKED_OBJECT: 25,
  /** Backups would be sealed to a key that this machine does not trust. */
  KEY_CHANGED: 26,
  /** Interrupted by a signal. */
  INTERRUPTED: 130,
} as const;

export type ErrorCode = keyof typeof EXIT_STATUS;

/** A failure told to the user in three parts: what failed, why, and what to do next. */
export class IbackupError extends Error {
  override readonly name = "IbackupError";
  readonly code: ErrorCode;
  /** The fact that caused it, with the offending values. */
  readonly why: string;
  /** The next command to run or setting to change. */
  readonly fix: string;

  /**
   * @param what The action that failed, with its values: `Cannot open "/dev/vdb"`.
   *   Sentence case, no full stop. Never holds a secret, like the other parts.
   */
  constructor(code: ErrorCode, what: string, parts: { why: string; fix: string; cause?: unknown }) {
    super(what, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.code = code;
    this.why = parts.why;
    this.fix = parts.fix;
  }
}

/** Throws when one of our own invariants is broken: a bug, never the world's fault. */
export function assert(condition: unknown, invariant: string): asserts condition {
  if (!condition) throw new Error(`Broken invariant: ${invariant}`);
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The `code` of a Node system error such as "ENOSPC", or undefined. */
export function systemCodeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

export const REPORT = "report these lines to those who gave you ibackup; README.md says where";

/** A failure as a document. Scripts rely on it. */
export interface ErrorDocument {
  error: { code: ErrorCode; exitStatus: number; what: string; why: string; fix: string };
}

/** What `--json` prints, and the daemon answers, instead of a result. */
export function errorDocument(error: unknown): ErrorDocument {
  const known =
    error instanceof IbackupError
      ? { code: error.code, what: error.message, why: error.why, fix: error.fix }
      : {
          code: "INTERNAL" as const,
          what: "ibackup met a bug",
          why: messageOf(error),
          fix: REPORT,
        };
  const { code, ...parts } = known;
  return { error: { code, exitStatus: EXIT_STATUS[code], ...parts } };
}
