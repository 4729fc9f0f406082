/** Tags and protection of a backup. */
import { type Remarks, TAG_PATTERN } from "../core/note.ts";
import { IbackupError } from "../errors.ts";
import { changeNote } from "../repo/notes.ts";
import { type BackupRequest, findBackup } from "./catalogue.ts";
import type { JobContext } from "./context.ts";

/** What to say of a backup, besides what is said already. */
export interface RemarkChange {
  addTag?: string;
  removeTag?: string;
  isProtected?: boolean;
}

export interface RemarkResult extends Remarks {
  backupId: string;
}

/** @throws IbackupError USAGE for what cannot be a tag; those of `findBackup`. */
export async function remark(
  context: JobContext,
  request: BackupRequest,
  change: RemarkChange,
): Promise<RemarkResult> {
  const { addTag, removeTag, isProtected } = change;
  for (const tag of [addTag, removeTag]) {
    if (tag !== undefined && !TAG_PATTERN.test(tag)) throw noTag(tag);
  }
  const { stored } = await findBackup(context, request);
  const { store } = await context.openRepository();
  const remarks = await changeNote(store, stored, (before) => {
    const tags = new Set(before.tags);
    if (addTag !== undefined) tags.add(addTag);
    if (removeTag !== undefined) tags.delete(removeTag);
    const sorted = [...tags].sort();
    return { tags: sorted, isProtected: isProtected ?? before.isProtected };
  });
  return { backupId: stored.manifest.backupId, ...remarks };
}

function noTag(text: string): IbackupError {
  return new IbackupError("USAGE", `Cannot use "${text}" as a tag`, {
    why: "it is not 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit",
    fix: "write for example before-upgrade",
  });
}
