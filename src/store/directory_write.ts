import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, link, lstat, open, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { systemCodeOf } from "../errors.ts";
import { TEMPORARY_PREFIX } from "./directory_list.ts";

const FILE_MODE = 0o600;
const CREATE_NEW = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** How file systems without hard links (vfat, exfat, some network ones) say so. */
const NO_HARD_LINKS = new Set(["EPERM", "EMLINK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"]);

/**
 * Runs `use` on a synced temporary file that holds the pieces, in the folder `root`.
 * The file is gone afterwards, also when the write failed for want of room.
 */
export async function withTemporaryFile<T>(
  content: { root: string; pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array> },
  use: (path: string) => Promise<T>,
): Promise<T> {
  const path = join(content.root, TEMPORARY_PREFIX + randomBytes(12).toString("hex"));
  const file = await open(path, CREATE_NEW, FILE_MODE);
  try {
    try {
      for await (const piece of content.pieces) await writeAll(file, piece);
      await file.sync();
    } finally {
      await file.close();
    }
    return await use(path);
  } finally {
    await removeIfThere(path);
  }
}

/** Gives the temporary file its name, in place of whatever had it. */
export async function takeName(temporary: string, target: string): Promise<void> {
  await rename(temporary, target);
}

/**
 * Gives the temporary file its name unless a file has it, in one step by a hard link.
 * Where there are no hard links it looks first and then renames, which leaves a moment for
 * another writer.
 */
export async function claimName(
  temporary: string,
  target: string,
): Promise<"claimed" | "exists" | "claimed without certainty"> {
  try {
    await link(temporary, target);
    return "claimed";
  } catch (error) {
    const code = systemCodeOf(error) ?? "";
    if (code === "EEXIST") return (await isSameFile(temporary, target)) ? "claimed" : "exists";
    if (!NO_HARD_LINKS.has(code)) throw error;
  }
  if (await exists(target)) return "exists";
  await rename(temporary, target);
  return "claimed without certainty";
}

/** NFS may answer EEXIST to the second sending of a link that it has made at the first. */
async function isSameFile(left: string, right: string): Promise<boolean> {
  const [one, other] = await Promise.all([lstat(left), lstat(right)]);
  return one.dev === other.dev && one.ino === other.ino;
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return false;
    throw error;
  }
}

async function writeAll(file: FileHandle, body: Uint8Array): Promise<void> {
  let done = 0;
  while (done < body.length) {
    const { bytesWritten } = await file.write(body, done, body.length - done);
    done += bytesWritten;
  }
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    // Renamed: it has its final name now.
    if (systemCodeOf(error) !== "ENOENT") throw error;
  }
}
