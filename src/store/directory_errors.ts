import { type ErrorCode, IbackupError, messageOf, systemCodeOf } from "../errors.ts";

/** What a system error of a folder means for the user. Anything not listed is IO. */
const CODE_OF: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "STORE_FULL",
  EDQUOT: "STORE_FULL",
  EACCES: "STORE_DENIED",
  EPERM: "STORE_DENIED",
  EROFS: "STORE_DENIED",
  ELOOP: "STORE_DENIED",
  // Gone under our feet: unmounted, the server of a network file system away, the disk pulled out.
  ENOENT: "STORE_UNREACHABLE",
  ENOTCONN: "STORE_UNREACHABLE",
  ENODEV: "STORE_UNREACHABLE",
  ENXIO: "STORE_UNREACHABLE",
  ESTALE: "STORE_UNREACHABLE",
  ETIMEDOUT: "STORE_UNREACHABLE",
  EHOSTDOWN: "STORE_UNREACHABLE",
  EHOSTUNREACH: "STORE_UNREACHABLE",
};

const FIX_OF: Readonly<Partial<Record<ErrorCode, string>>> = {
  STORE_FULL:
    "make room there: delete files, raise the quota, or run `ibackup prune` and then `ibackup gc`",
  STORE_DENIED: "check owner, mode and mount options of that folder, or run ibackup as its owner",
  STORE_UNREACHABLE:
    "check that the file system of that folder is mounted, then run the command again",
  IO: "check the disk of that folder (`dmesg`), then run the command again",
};

/** A failure of the folder, as an `IbackupError`. Passes on what is one already, and aborts. */
export function directoryError(what: string, error: unknown): unknown {
  if (error instanceof IbackupError) return error;
  const system = systemCodeOf(error);
  if (system === undefined) return error;
  const code = CODE_OF[system] ?? "IO";
  const fix = FIX_OF[code] ?? "";
  return new IbackupError(code, what, { why: messageOf(error), fix, cause: error });
}

/** A folder or file that others could have planted or could change. */
export function unsafePath(path: string, why: string, fix: string): IbackupError {
  return new IbackupError("STORE_DENIED", `Refuse to use "${path}" as part of a repository`, {
    why,
    fix,
  });
}

export function noLock(place: string): IbackupError {
  return new IbackupError("UNSUPPORTED", `Cannot lock "${place}"`, {
    why: "a folder locks no objects",
    fix: "use a bucket with object lock, or leave the retention out of the config file",
  });
}
