/**
 * Where documents about a backup lie that came after it: `<folder>/<disk tag>/<sequence>/<version>`.
 *
 * A manifest is never changed. What is said of its backup later is said anew as a whole, by a
 * document of the next version; the newest version counts. It is put on the condition that there is
 * none of that version: of two that change the same, one has to look again.
 */
import { assert } from "../errors.ts";
import { manifestKey, parseManifestKey } from "./manifest_key.ts";

export type SidecarFolder = "maps" | "notes";

const VERSION_DIGITS = 10;
const VERSION_MAX = 10 ** VERSION_DIGITS - 1;
const SIDECAR_KEY = /^(maps|notes)\/([0-9a-f]{32}\/[0-9]{10})\/([0-9]{10})$/;

/** What the key of such a document says. */
export interface SidecarPlace {
  folder: SidecarFolder;
  /** Of the backup: the key that its manifest has, or had. */
  manifestKey: string;
  /** From 1 on. */
  version: number;
}

/** @param key Of the manifest. */
export function sidecarPrefix(folder: SidecarFolder, key: string): string {
  const place = parseManifestKey(key);
  assert(place !== undefined, "a document belongs to a manifest");
  return `${folder}/${manifestKey(place).slice("manifests/".length)}/`;
}

export function sidecarKey({ folder, manifestKey: key, version }: SidecarPlace): string {
  assert(version >= 1 && version <= VERSION_MAX, "versions are counted from 1, in ten digits");
  return sidecarPrefix(folder, key) + String(version).padStart(VERSION_DIGITS, "0");
}

/** Undefined when the key is none of these. */
export function parseSidecarKey(key: string): SidecarPlace | undefined {
  const [, folder, place, digits] = SIDECAR_KEY.exec(key) ?? [];
  if (folder === undefined || Number(digits) < 1) return undefined;
  const of = `manifests/${place}`;
  return { folder: folder as SidecarFolder, manifestKey: of, version: Number(digits) };
}
