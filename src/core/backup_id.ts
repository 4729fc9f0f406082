import { assert } from "../errors.ts";

const BACKUP_ID = /^\d{8}T\d{6}Z-[0-9a-f]{8}$/;
const SUFFIX = /^[0-9a-f]{8}$/;

/**
 * The name of a backup: `20261122T170102Z-6f3a9c1d`.
 *
 * The time is for the reader's eye and makes listings nearly chronological. Nothing relies on it:
 * the order within a chain comes from parent links and sequence numbers.
 *
 * @param at The UTC second of the name.
 * @param suffix Eight random hexadecimal digits.
 */
export function makeBackupId(at: Date, suffix: string): string {
  assert(SUFFIX.test(suffix), "the suffix of a backup id is eight hexadecimal digits");
  const second = at.toISOString().slice(0, 19).replaceAll(/[-:]/g, "");
  return `${second}Z-${suffix}`;
}

export function isBackupId(text: string): boolean {
  return BACKUP_ID.test(text);
}
