/** Notes of backups: tags, protection, and what of them is lost. */
import { corruptObject } from "../core/corrupt.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { decodeNote, encodeNote, NO_REMARKS, type Remarks } from "../core/note.ts";
import { mapInOrder } from "../core/ordered.ts";
import { sidecarKey, sidecarPrefix } from "../core/sidecar_key.ts";
import { IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { putOnce } from "./put_once.ts";
import { sha256Hex } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";

const GETS_IN_FLIGHT = 16;

/** What of a backup's note could not be read. It may say that the backup is protected. */
const UNREADABLE: Remarks = { ...NO_REMARKS, isProtected: true };

/**
 * What is said of the backups, by the key of their manifest. Most have no note.
 *
 * @param onDamaged Told of each note that cannot be read. Its backup counts as protected.
 */
export async function readNotes(
  store: Store,
  backups: readonly StoredManifest[],
  onDamaged: (error: IbackupError) => void,
): Promise<Map<string, Remarks>> {
  const versions = await newestVersions(store, "notes/");
  const noted = backups.filter(({ key }) => versions.has(key));
  const notes = new Map<string, Remarks>();
  const read = async (stored: StoredManifest) => {
    try {
      const remarks = await readNote(store, stored, versions.get(stored.key) ?? 0);
      return { key: stored.key, remarks };
    } catch (error) {
      if (!(error instanceof IbackupError) || error.code !== "CORRUPT_DATA") throw error;
      onDamaged(error);
      return { key: stored.key, remarks: UNREADABLE };
    }
  };
  for await (const { key, remarks } of mapInOrder(noted, GETS_IN_FLIGHT, read)) {
    notes.set(key, remarks);
  }
  return notes;
}

/** Says something else of a backup from now on. @returns What is said now. */
export async function changeNote(
  store: Store,
  stored: StoredManifest,
  change: (before: Remarks) => Partial<Remarks>,
): Promise<Remarks> {
  const { key, manifest } = stored;
  for (;;) {
    const versions = await newestVersions(store, sidecarPrefix("notes", key));
    const newest = versions.get(key) ?? 0;
    const before = await readNote(store, stored, newest);
    const after = { ...before, ...change(before) };
    if (JSON.stringify(after) === JSON.stringify(before)) return before;
    const version = newest + 1;
    const note = { backupId: manifest.backupId, version, ...after };
    const object = sidecarKey({ folder: "notes", manifestKey: key, version });
    // Somebody else was first: what he said counts too.
    if (await putOnce(store, object, encodeNote(note, sha256Hex))) return after;
  }
}

async function readNote(
  store: Store,
  { key, manifest }: StoredManifest,
  version: number,
): Promise<Remarks> {
  if (version === 0) return NO_REMARKS;
  const object = sidecarKey({ folder: "notes", manifestKey: key, version });
  const bytes = await store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) throw corruptObject(object, "it is listed but cannot be got");
  const { backupId, tags, isProtected, blocksLost } = decodeNote({ object, bytes }, sha256Hex);
  if (backupId === manifest.backupId) return { tags, isProtected, blocksLost };
  throw corruptObject(object, `it is the note of backup ${backupId}`);
}
