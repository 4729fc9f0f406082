import type { Dirent, Stats } from "node:fs";
import { lstat, readdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "../errors.ts";
import { unsafePath } from "./directory_errors.ts";
import { compareKeys, isKeyPart } from "./key.ts";
import type { StoredObject } from "./store.ts";

/** Puts in progress, in the top folder. The dot keeps them out of every list. */
export const TEMPORARY_PREFIX = ".tmp-";
/** No put lasts this long: what is older was left behind by a killed one. */
const TEMPORARY_AGE_MS_MAX = 24 * 60 * 60 * 1000;

/** Where a walk stands: a real folder, the beginning of the keys in it, and the prefix asked for. */
export interface Walk {
  folder: string;
  keyStart: string;
  prefix: string;
}

/**
 * The objects below a folder whose key starts with the prefix, ascending by key. Holds the names
 * of one folder a level. Names that are no keys (`lost+found`, temporary files) are not ours.
 */
export async function* listFolder(walk: Walk): AsyncGenerator<StoredObject> {
  for (const { name, entry } of await sortedEntries(walk.folder)) {
    const key = walk.keyStart + name;
    const path = join(walk.folder, entry.name);
    if (!key.startsWith(walk.prefix) && !walk.prefix.startsWith(key)) continue;
    if (entry.isDirectory()) {
      yield* listFolder({ folder: path, keyStart: key, prefix: walk.prefix });
    } else if (key.startsWith(walk.prefix)) {
      const found = await statFile(path);
      if (found) yield { key, sizeBytes: found.size, storedAtMs: Math.floor(found.mtimeMs) };
    }
  }
}

/** A folder sorts as if its name ended in "/": so do the keys in it, among those beside it. */
async function sortedEntries(folder: string): Promise<{ name: string; entry: Dirent }[]> {
  const entries = await entriesOf(folder);
  return entries
    .filter((entry) => isKeyPart(entry.name))
    .map((entry) => ({ name: entry.isDirectory() ? `${entry.name}/` : entry.name, entry }))
    .sort((left, right) => compareKeys(left.name, right.name));
}

async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** Undefined when it was removed since the folder was read. */
async function statFile(path: string): Promise<Stats | undefined> {
  try {
    const found = await lstat(path);
    if (found.isFile()) return found;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  throw notAFile(path);
}

/** A link, a device, a socket: nothing that ibackup ever puts into a repository. */
export function notAFile(path: string): Error {
  return unsafePath(
    path,
    "it is not a plain file",
    "remove it: ibackup never makes links or special files",
  );
}

/** Removes what killed puts have left in the top folder. */
export async function sweepTemporaryFiles(root: string): Promise<void> {
  const tooOld = Date.now() - TEMPORARY_AGE_MS_MAX;
  for (const entry of await entriesOf(root)) {
    if (!entry.name.startsWith(TEMPORARY_PREFIX)) continue;
    const path = join(root, entry.name);
    try {
      const found = await lstat(path);
      if (found.isFile() && found.mtimeMs < tooOld) await unlink(path);
    } catch (error) {
      // Another ibackup swept it, or its put has just ended.
      if (systemCodeOf(error) !== "ENOENT") throw error;
    }
  }
}
