/** Small files of the state folder: whole or not there, whenever the power fails. */
import {
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { systemCodeOf } from "../errors.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = constants;

/** @returns Undefined when there is none. @throws What the system says. */
export function readStateFile(path: string): string | undefined {
  try {
    const descriptor = openSync(path, O_RDONLY | O_NOFOLLOW);
    try {
      return readFileSync(descriptor, "utf8");
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** @param draft A path in the same folder that nobody else uses. */
export function replaceStateFile(path: string, draft: string, text: string): void {
  writeDraft(draft, text);
  renameSync(draft, path);
  syncFolderOf(path);
}

/** @returns False when there is one already. */
export function createStateFile(path: string, draft: string, text: string): boolean {
  writeDraft(draft, text);
  try {
    linkSync(draft, path);
    syncFolderOf(path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
}

function writeDraft(draft: string, text: string): void {
  const descriptor = openSync(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    writeFileSync(descriptor, text);
    fsyncSync(descriptor);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  } finally {
    closeSync(descriptor);
  }
}

function syncFolderOf(path: string): void {
  const folder = openSync(dirname(path), O_RDONLY);
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
