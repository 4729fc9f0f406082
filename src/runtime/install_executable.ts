/**
 * Writes an executable where nobody else can change it.
 *
 * The rule that makes the check at the start worth something: neither the file nor any folder
 * above it may be written by another user, so that what was checked is what will be executed.
 */
import { createHash, randomBytes } from "node:crypto";
import { constants, rmSync, type Stats } from "node:fs";
import { access, lstat, mkdir, mkdtemp, open, realpath, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import process from "node:process";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY, X_OK } = constants;

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;

/** Where a private folder is made when none of the lasting ones will do; removed at the exit. */
const TEMPORARY_PARENTS = ["/tmp", "/dev/shm"];

/** The private folder that this process made, if it had to. */
let temporaryFolder: string | undefined;

/**
 * Makes sure that `bytes` lie in an executable file named by their SHA-256, in the first of
 * `folders` that is safe and not mounted noexec; else in a private temporary folder.
 *
 * @param name Begins the file's name.
 * @param folders Absolute, or none at all. Made when they do not exist.
 * @returns The file's path. Its owner, mode and content have been checked just now.
 * @throws IbackupError TRACKER when no folder will do, with the reason for each.
 */
export async function installExecutable(
  name: string,
  bytes: Uint8Array,
  folders: readonly string[],
): Promise<string> {
  const file: Executable = { name: `${name}-${sha256(bytes)}`, bytes };
  const refusals: string[] = [];
  for (const folder of temporaryFolder ? [temporaryFolder] : folders) {
    try {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      return await installIn(folder, file);
    } catch (error) {
      refusals.push(`${folder}: ${messageOf(error)}`);
    }
  }
  for (const parent of TEMPORARY_PARENTS) {
    try {
      const folder = await makeTemporaryFolder(parent);
      const path = await installIn(folder, file);
      temporaryFolder = folder;
      return path;
    } catch (error) {
      refusals.push(`${parent}: ${messageOf(error)}`);
    }
  }
  throw new IbackupError("TRACKER", `Cannot install the executable "${name}"`, {
    why: refusals.join("; "),
    fix:
      folders.length > 0
        ? `make "${folders[0]}" a folder of yours with mode 0700, not mounted noexec`
        : `mount "${TEMPORARY_PARENTS.at(-1)}" writable, and not noexec`,
  });
}

interface Executable {
  name: string;
  bytes: Uint8Array;
}

async function installIn(folder: string, file: Executable): Promise<string> {
  const realFolder = await realpath(folder);
  await refuseSharedFolder(realFolder);
  const path = join(realFolder, file.name);
  if (!(await isIntact(path, file.bytes))) {
    await writeExecutable(path, file.bytes);
    if (!(await isIntact(path, file.bytes))) throw new Error(`"${path}" was changed meanwhile`);
  }
  // Fails on a file system mounted noexec, too.
  await access(path, X_OK);
  return path;
}

/** Throws when anybody but root and this user could put something else at a path in `folder`. */
async function refuseSharedFolder(folder: string): Promise<void> {
  for (let path = folder; ; path = dirname(path)) {
    const stats = await lstat(path);
    const harmless = path !== folder && (stats.mode & STICKY) !== 0;
    if (!isOurs(stats) && stats.uid !== 0)
      throw new Error(`"${path}" belongs to user ${stats.uid}`);
    if (!harmless && (stats.mode & WRITABLE_BY_OTHERS) !== 0) {
      throw new Error(`"${path}" can be written by others`);
    }
    if (path === dirname(path)) return;
  }
}

/** True when the file at `path` is ours, safe, and holds exactly `bytes`. */
async function isIntact(path: string, bytes: Uint8Array): Promise<boolean> {
  try {
    await using file = await open(path, O_RDONLY | O_NOFOLLOW);
    const stats = await file.stat();
    if (!stats.isFile() || !isOurs(stats) || stats.size !== bytes.byteLength) return false;
    if ((stats.mode & WRITABLE_BY_OTHERS) !== 0 || (stats.mode & 0o500) !== 0o500) return false;
    return sha256(await file.readFile()) === sha256(bytes);
  } catch (error) {
    const code = systemCodeOf(error);
    if (code === "ENOENT" || code === "ELOOP") return false;
    throw error;
  }
}

/** Never leaves half a file at `path`, and never writes through a link. */
async function writeExecutable(path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.${randomBytes(8).toString("hex")}`;
  try {
    {
      await using file = await open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o700);
      await file.writeFile(bytes);
      await file.chmod(0o700);
      await file.sync();
    }
    await rename(draft, path);
    await using folder = await open(dirname(path), O_RDONLY | O_DIRECTORY);
    await folder.sync();
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
}

async function makeTemporaryFolder(parent: string): Promise<string> {
  const folder = await mkdtemp(join(parent, "ibackup-"));
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function isOurs(stats: Stats): boolean {
  return stats.uid === process.geteuid?.();
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
