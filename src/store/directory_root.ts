import type { Stats } from "node:fs";
import { lstat, mkdir, open, realpath, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { geteuid } from "node:process";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { unsafePath } from "./directory_errors.ts";

/** Folders are ours alone: a repository holds the content of whole disks. */
const FOLDER_MODE = 0o700;
const WORLD_WRITABLE = 0o002;

/**
 * The folder at the top of a directory store.
 *
 * Once seen it stays the same folder until the store is closed. Were an unmounted file system
 * allowed to look like an empty folder, half a backup would land on the disk below the mount.
 */
export class DirectoryRoot {
  readonly #given: string;
  /** Folders whose name is known to survive a power cut. */
  readonly #durable = new Set<string>();
  #seen: { path: string; dev: number; ino: number } | undefined;

  /** @param path Absolute. */
  constructor(path: string) {
    this.#given = path;
  }

  /** The real path, or undefined when there is no such folder yet. Throws STORE_UNREACHABLE when it is gone. */
  async find(): Promise<string | undefined> {
    const found = await statOrUndefined(this.#seen?.path ?? this.#given);
    if (this.#seen !== undefined) {
      if (found?.dev !== this.#seen.dev || found.ino !== this.#seen.ino)
        throw vanished(this.#given);
      return this.#seen.path;
    }
    if (found === undefined) return undefined;
    refuseUnsafeRoot(this.#given, found);
    const path = await realpath(this.#given);
    this.#seen = { path, dev: found.dev, ino: found.ino };
    return path;
  }

  /** The real path; makes the folder, and those above it, when there is none yet. */
  async create(): Promise<string> {
    const found = await this.find();
    if (found !== undefined) return found;
    const first = await mkdir(this.#given, { recursive: true, mode: FOLDER_MODE });
    // Durable up to the first folder that was there before.
    if (first !== undefined) await syncFoldersUpTo(dirname(first), dirname(this.#given));
    const made = await this.find();
    if (made === undefined) throw vanished(this.#given);
    return made;
  }

  /** The folder that holds `key`, made when missing. Refuses a symbolic link on the way. */
  async createFolderOf(key: string): Promise<string> {
    let folder = await this.create();
    for (const part of key.split("/").slice(0, -1)) {
      const next = join(folder, part);
      await makeFolder(next);
      // Also when it was there: whoever made it may have been killed, or be about to sync.
      if (!this.#durable.has(next)) await syncFolder(folder);
      this.#durable.add(next);
      folder = next;
    }
    return folder;
  }

  /** The folder that holds `key`, or undefined when there is none. Refuses a symbolic link on the way. */
  async findFolderOf(key: string): Promise<string | undefined> {
    let folder = await this.find();
    for (const part of key.split("/").slice(0, -1)) {
      if (folder === undefined) return undefined;
      folder = await findFolder(join(folder, part));
    }
    return folder;
  }
}

/** Makes what was done to the names in `folder` survive a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncFoldersUpTo(top: string, bottom: string): Promise<void> {
  let folder = bottom;
  while (folder.length > top.length) {
    await syncFolder(folder);
    folder = dirname(folder);
  }
  await syncFolder(top);
}

async function makeFolder(path: string): Promise<void> {
  if ((await findFolder(path)) !== undefined) return;
  try {
    await mkdir(path, { mode: FOLDER_MODE });
  } catch (error) {
    // Another put of ours was faster.
    if (systemCodeOf(error) !== "EEXIST" || (await findFolder(path)) === undefined) throw error;
  }
}

async function findFolder(path: string): Promise<string | undefined> {
  try {
    const found = await lstat(path);
    if (found.isDirectory()) return path;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  throw unsafePath(
    path,
    "it is not a folder",
    "remove it: ibackup makes its own folders, and never links",
  );
}

async function statOrUndefined(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function refuseUnsafeRoot(path: string, found: Stats): void {
  if (!found.isDirectory()) throw unsafePath(path, "it is not a folder", "name a folder in --repo");
  if ((found.mode & WORLD_WRITABLE) !== 0) {
    const mode = (found.mode & 0o7777).toString(8);
    throw unsafePath(
      path,
      `every user may write there (mode ${mode})`,
      `run \`chmod 700 ${path}\``,
    );
  }
  const us = geteuid?.() ?? 0;
  if (found.uid !== us && found.uid !== 0) {
    const why = `it belongs to user ${found.uid}, and ibackup runs as user ${us}`;
    throw unsafePath(path, why, `run \`chown -R ${us} ${path}\`, or run ibackup as its owner`);
  }
}

function vanished(path: string): IbackupError {
  return new IbackupError(
    "STORE_UNREACHABLE",
    `Cannot find the repository folder "${path}" any more`,
    {
      why: "it was there a moment ago, and now it is gone or is another folder",
      fix: "check that its file system is mounted, then run the command again",
    },
  );
}
