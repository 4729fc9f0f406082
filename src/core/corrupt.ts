import { IbackupError } from "../errors.ts";

/**
 * The error for an object of the repository that does not hold what it should.
 *
 * @param object Its key: `packs/ab/ab12...`.
 * @param reason What is wrong, with the values; no full stop.
 */
export function corruptObject(object: string, reason: string, cause?: unknown): IbackupError {
  return new IbackupError("CORRUPT_DATA", `Cannot use "${object}"`, {
    why: reason,
    fix: "run `ibackup verify --data` to learn which backups it takes away",
    cause,
  });
}

/** The error for an object that a newer ibackup wrote. */
export function newerFormat(object: string, found: number, known: number): IbackupError {
  return new IbackupError("REPOSITORY_FORMAT", `Cannot read "${object}"`, {
    why: `it has format version ${found}, and this ibackup knows versions up to ${known}`,
    fix: "use the ibackup that wrote it, or a newer one",
  });
}
