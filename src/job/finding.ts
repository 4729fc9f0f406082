/** What one check of the doctor found. */
import { IbackupError } from "../errors.ts";

export interface Finding {
  /** "kernel", "hook block", "disk /dev/vda"... */
  check: string;
  /**
   * "warn": backups can be taken, but something is worse than it could be. "fail": no tracking, or
   * no backup.
   */
  verdict: "ok" | "warn" | "fail";
  /** What was found, with its values. */
  found: string;
  /** What to do about it; null when all is well. */
  fix: string | null;
}

export function ok(check: string, found: string): Finding {
  return { check, verdict: "ok", found, fix: null };
}

export function warn(check: string, found: string, fix: string): Finding {
  return { check, verdict: "warn", found, fix };
}

export function fail(check: string, found: string, fix: string): Finding {
  return { check, verdict: "fail", found, fix };
}

/** What a check threw, as a finding; rethrows what is a bug. */
export function failureOf(check: string, error: unknown): Finding {
  if (!(error instanceof IbackupError)) throw error;
  return fail(check, `${error.message}: ${error.why}`, error.fix);
}
