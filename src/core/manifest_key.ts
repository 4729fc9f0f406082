/**
 * Where manifests lie: `manifests/<disk tag>/<sequence>`, one folder for each disk of each VM.
 *
 * The sequence stands in the key so that only one backup can follow another: of two writers that
 * saw the same newest backup, one finds the next key taken. No clock has a say in it.
 */
import { assert } from "../errors.ts";
import type { Sha256Hex } from "./document.ts";

export const MANIFEST_PREFIX = "manifests/";
const TAG_DIGITS = 32;
const SEQUENCE_DIGITS = 10;
export const SEQUENCE_MAX = 10 ** SEQUENCE_DIGITS - 1;
const MANIFEST_KEY = /^manifests\/([0-9a-f]{32})\/([0-9]{10})$/;

/** Names a disk among those of all VMs. */
export interface DiskName {
  vmId: string;
  diskName: string;
}

/** Which manifest a key is for. */
export interface ManifestPlace {
  diskTag: string;
  sequence: number;
}

/** The folder name of a disk: 32 hexadecimal digits, whatever characters its names are made of. */
export function diskTagOf({ vmId, diskName }: DiskName, sha256: Sha256Hex): string {
  return sha256(new TextEncoder().encode(`${vmId}\0${diskName}`)).slice(0, TAG_DIGITS);
}

export function manifestKey({ diskTag, sequence }: ManifestPlace): string {
  assert(sequence >= 0 && sequence <= SEQUENCE_MAX, "a sequence has at most ten digits");
  return `${MANIFEST_PREFIX}${diskTag}/${String(sequence).padStart(SEQUENCE_DIGITS, "0")}`;
}

/** Undefined when the key is not that of a manifest. */
export function parseManifestKey(key: string): ManifestPlace | undefined {
  const [, diskTag, digits] = MANIFEST_KEY.exec(key) ?? [];
  if (diskTag === undefined) return undefined;
  return { diskTag, sequence: Number(digits) };
}

/**
 * The sequence of the next backup of a disk.
 *
 * @param keys Of all manifests, those that cannot be read included: their places are taken.
 */
export function nextSequence(keys: Iterable<string>, diskTag: string): number {
  let next = 0;
  for (const key of keys) {
    const place = parseManifestKey(key);
    if (place?.diskTag === diskTag) next = Math.max(next, place.sequence + 1);
  }
  return next;
}
