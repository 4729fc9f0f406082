import { assert } from "../errors.ts";

/** Longest key in bytes: leaves room for a bucket prefix below the 1,024 bytes that S3 allows. */
const KEY_BYTES_MAX = 512;
/** Longest part between two slashes: file systems allow 255. */
const PART_BYTES_MAX = 200;

const PART = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;
const PREFIX = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*(?:[A-Za-z0-9_-][A-Za-z0-9._-]*)?$/;

/** True when `part` may stand between two slashes of a key. A part never starts with a dot. */
export function isKeyPart(part: string): boolean {
  return part.length <= PART_BYTES_MAX && PART.test(part);
}

/** True for what `put` takes. */
export function isKey(key: string): boolean {
  return key.length <= KEY_BYTES_MAX && key.split("/").every(isKeyPart);
}

/**
 * Throws (a bug, not the world's fault) when `key` breaks the rule of `Store`: whatever reads a
 * key out of a stored object has to check it first, so that `../` never comes this far.
 */
export function assertKey(key: string): void {
  assert(isKey(key), `"${key}" is a key of the store`);
}

/** Like `assertKey`, for what `list` takes: empty, or the beginning of a key. */
export function assertPrefix(prefix: string): void {
  assert(
    prefix.length <= KEY_BYTES_MAX && PREFIX.test(prefix),
    `"${prefix}" is the beginning of keys of the store`,
  );
}

/** Ascending by byte, the order in which S3 lists. Keys are ASCII, so code units are bytes. */
export function compareKeys(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
