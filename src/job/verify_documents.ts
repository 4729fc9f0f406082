/** Looks at the documents of a repository that no restore needs: each may be wanted one day. */
import { decodeKeySlot, KEY_PREFIX } from "../core/key_slot.ts";
import { decodeLease, leaseNumberOf } from "../core/lease.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { decodeNote } from "../core/note.ts";
import { mapInOrder } from "../core/ordered.ts";
import { parseSidecarKey, type SidecarPlace } from "../core/sidecar_key.ts";
import { IbackupError } from "../errors.ts";
import { readMap } from "../repo/maps.ts";
import { readNotes } from "../repo/notes.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { Store } from "../store/store.ts";

const GETS_IN_FLIGHT = 16;

interface Misfit {
  object: string;
  reason: string;
}

/**
 * Notes, keys, leases, and the maps that do not count any more or of which the manifest is gone.
 *
 * @param manifests Their newest maps have been looked at.
 */
export async function* checkDocuments(
  { store, id }: Repository,
  manifests: readonly StoredManifest[],
): AsyncGenerator<Misfit> {
  const byKey = new Map(manifests.map((stored) => [stored.key, stored]));
  const readers: Record<string, (object: string) => Promise<string | undefined>> = {
    "maps/": async (object) => await checkMap(store, object, byKey),
    "notes/": async (object) => {
      const note = await decoded(store, object, decodeNote);
      return note && misfitOf(note.backupId, ownerOf(object, byKey));
    },
    "leases/": async (object) => {
      if (leaseNumberOf(object) !== undefined) await decoded(store, object, decodeLease);
      return undefined;
    },
    [KEY_PREFIX]: async (object) => {
      const slot = await decoded(store, object, decodeKeySlot);
      return slot && slot.repositoryId !== id ? "it is of another repository" : undefined;
    },
  };
  for (const [prefix, read] of Object.entries(readers)) {
    const objects: string[] = [];
    for await (const { key } of store.list(prefix)) objects.push(key);
    const check = (object: string) => orDamage(object, read);
    for await (const misfit of mapInOrder(objects, GETS_IN_FLIGHT, check)) if (misfit) yield misfit;
  }
}

/** What `verify --repair` has noted as lost: known without reading any data. */
export async function* findLosses(
  store: Store,
  backups: readonly StoredManifest[],
): AsyncGenerator<Misfit & { backups: string[] }> {
  // One that cannot be read is a problem of its own.
  const notes = await readNotes(store, backups, () => undefined);
  for (const { key, manifest } of backups) {
    const blocksLost = notes.get(key)?.blocksLost ?? 0;
    if (blocksLost === 0) continue;
    const reason = `${blocksLost} of its blocks were lost when \`verify --repair\` looked last`;
    yield { object: key, reason, backups: [manifest.backupId] };
  }
}

async function orDamage(
  object: string,
  read: (object: string) => Promise<string | undefined>,
): Promise<Misfit | undefined> {
  try {
    const reason = await read(object);
    return reason === undefined ? undefined : { object, reason };
  } catch (error) {
    if (!(error instanceof IbackupError) || error.code !== "CORRUPT_DATA") throw error;
    return { object, reason: error.why };
  }
}

/** @returns Undefined: it was removed a moment ago. */
async function decoded<T>(
  store: Store,
  object: string,
  decode: (stored: { object: string; bytes: Uint8Array }, sha256: typeof sha256Hex) => T,
): Promise<T | undefined> {
  const bytes = await store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
  return bytes && decode({ object, bytes }, sha256Hex);
}

async function checkMap(
  store: Store,
  object: string,
  byKey: ReadonlyMap<string, StoredManifest>,
): Promise<string | undefined> {
  const stored = ownerOf(object, byKey);
  const place: SidecarPlace | undefined = parseSidecarKey(object);
  if (place === undefined || stored?.map?.version === place.version) return undefined;
  const map = await readMap(store, object);
  return map && misfitOf(map.backupId, stored);
}

function ownerOf(
  object: string,
  byKey: ReadonlyMap<string, StoredManifest>,
): StoredManifest | undefined {
  return byKey.get(parseSidecarKey(object)?.manifestKey ?? "");
}

function misfitOf(backupId: string, stored: StoredManifest | undefined): string | undefined {
  if (stored === undefined || stored.manifest.backupId === backupId) return undefined;
  return `it is of backup ${backupId}`;
}
