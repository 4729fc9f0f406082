/**
 * A note: what is said of a backup later than its manifest, and that changes nothing of its data.
 */
import { z } from "zod";
import { isBackupId } from "./backup_id.ts";
import { corruptObject } from "./corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument, type Sha256Hex } from "./document.ts";
import { DISK_BLOCKS_MAX } from "./limits.ts";
import { parseSidecarKey } from "./sidecar_key.ts";

const KIND: DocumentKind = { name: "note", version: 1 };

/** As few rules as a shell and a table need. */
export const TAG_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const noteSchema = z.strictObject({
  backupId: z.string().refine(isBackupId, "is no backup id"),
  /** Counts the notes of a backup, from 1. */
  version: z.int().min(1),
  /** Ascending, each once. */
  tags: z.array(z.string().regex(TAG_PATTERN, "is no tag")).max(64),
  /** It is not removed, whatever a policy says. */
  isProtected: z.boolean(),
  /** Blocks that nobody can give back, as `verify --repair` found; 0: none that is known of. */
  blocksLost: z.int().min(0).max(DISK_BLOCKS_MAX),
});

export type Note = z.infer<typeof noteSchema>;

/** What can be said of a backup. */
export type Remarks = Pick<Note, "tags" | "isProtected" | "blocksLost">;

export const NO_REMARKS: Remarks = { tags: [], isProtected: false, blocksLost: 0 };

/** @throws Error when it breaks a rule, which is a bug. */
export function encodeNote(note: Note, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, noteSchema.parse(note), sha256);
}

/**
 * @param stored `object`: its key. The note has to belong there.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeNote(stored: { object: string; bytes: Uint8Array }, sha256: Sha256Hex): Note {
  const { object } = stored;
  const parsed = noteSchema.safeParse(decodeDocument(KIND, stored, sha256));
  if (!parsed.success) {
    throw corruptObject(object, z.prettifyError(parsed.error).replaceAll("\n", " "));
  }
  if (parseSidecarKey(object)?.version !== parsed.data.version) {
    throw corruptObject(object, `it is version ${parsed.data.version} of the note of a backup`);
  }
  return parsed.data;
}
