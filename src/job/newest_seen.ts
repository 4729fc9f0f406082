/**
 * What this machine remembers of repositories: the newest backup of each disk that it has made or
 * continued. So it notices a repository that was put back to an older state.
 */
import { existsSync, mkdirSync, readdirSync, rmSync } from "node:fs";
import { z } from "zod";
import { corruptObject } from "../core/corrupt.ts";
import { toHex } from "../core/hex.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import { IbackupError, messageOf } from "../errors.ts";
import type { DamagedManifest } from "../repo/manifest_list.ts";
import type { JobContext } from "./context.ts";
import { readStateFile, replaceStateFile } from "./state_file.ts";

const seenSchema = z.strictObject({
  /** Of the manifest. */
  key: z.string().refine((key) => parseManifestKey(key) !== undefined, "is no key of a manifest"),
  sha256: z.string(),
  backupId: z.string(),
});

type Seen = z.infer<typeof seenSchema>;

/** @throws What the system says. */
export function noteSeen(context: JobContext, repositoryId: string, stored: StoredManifest): void {
  const { key, sha256, manifest } = stored;
  const folder = folderOf(context, repositoryId);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = `${folder}/${parseManifestKey(key)?.diskTag}.json`;
  const seen: Seen = { key, sha256, backupId: manifest.backupId };
  const text = `${JSON.stringify(seen, null, 2)}\n`;
  replaceStateFile(path, `${path}.${toHex(context.random(8))}`, text);
}

/** Of backups that this machine has removed itself: they are not missed. */
export function forgetSeen(
  context: JobContext,
  repositoryId: string,
  isRemoved: (seen: Seen) => boolean,
): void {
  for (const { key } of readSeen(context, repositoryId).filter(isRemoved)) {
    const tag = parseManifestKey(key)?.diskTag;
    rmSync(`${folderOf(context, repositoryId)}/${tag}.json`, { force: true });
  }
}

/** True when a backup is the newest of its disk that this machine remembers. */
export function hasSeen(
  context: JobContext,
  repositoryId: string,
  stored: StoredManifest,
): boolean {
  return readSeen(context, repositoryId).some(({ sha256 }) => sha256 === stored.sha256);
}

/**
 * What this machine remembers and the repository has not any more, or has otherwise.
 *
 * @param found All of the repository. `damaged` are told already.
 */
export function findMissing(
  context: JobContext,
  repositoryId: string,
  { manifests, damaged }: Found,
): DamagedManifest[] {
  const byKey = new Map(manifests.map((stored) => [stored.key, stored]));
  const told = new Set(damaged.map(({ key }) => key));
  return readSeen(context, repositoryId).flatMap((seen) => {
    const found = byKey.get(seen.key);
    if (found?.sha256 === seen.sha256 || told.has(seen.key)) return [];
    const fate = found ? "is another one now" : "is not there any more";
    const why = `this machine has seen the backup ${seen.backupId} there, and it ${fate}`;
    return [{ key: seen.key, error: corruptObject(seen.key, why) }];
  });
}

interface Found {
  manifests: readonly StoredManifest[];
  damaged: readonly { key: string }[];
}

/** One that cannot be read is no memory; who may not enter the folder has none. */
function readSeen(context: JobContext, repositoryId: string): Seen[] {
  let folder: string;
  try {
    folder = folderOf(context, repositoryId);
  } catch (error) {
    if (error instanceof IbackupError && error.code === "NOT_PERMITTED") return [];
    throw error;
  }
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).filter((name) => /^[0-9a-f]{32}\.json$/.test(name));
  return names.flatMap((name) => parseSeen(context, `${folder}/${name}`) ?? []);
}

function parseSeen(context: JobContext, path: string): Seen | undefined {
  try {
    return seenSchema.parse(JSON.parse(readStateFile(path) ?? ""));
  } catch (error) {
    context.progress.message(`"${path}" cannot be used: ${messageOf(error)}`);
    return undefined;
  }
}

function folderOf(context: JobContext, repositoryId: string): string {
  return `${context.stateDir()}/seen-${repositoryId}`;
}
