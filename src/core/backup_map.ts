/**
 * A map: what a backup consists of since backups that it built on were removed.
 *
 * It takes the place of the parent and of the index objects that the manifest names. Where the
 * parent was removed, the index objects of the parent stand before the backup's own; where there is
 * no parent any more, the backup is a base. No data move, and no manifest is rewritten.
 */
import { z } from "zod";
import { assert } from "../errors.ts";
import { isBackupId } from "./backup_id.ts";
import { corruptObject } from "./corrupt.ts";
import {
  bodyUpTo,
  type DocumentKind,
  decodeDocument,
  encodeDocument,
  type Sha256Hex,
} from "./document.ts";
import { DISK_BLOCKS_MAX } from "./limits.ts";
import { indexSchema, type Manifest, type RemovedBackup, type StoredManifest } from "./manifest.ts";
import { SEQUENCE_MAX } from "./manifest_key.ts";
import { parseSidecarKey } from "./sidecar_key.ts";

const KIND: DocumentKind = { name: "map", version: 1 };

const sha256Name = z.string().regex(/^[0-9a-f]{64}$/, "is no SHA-256");
const backupId = z.string().refine(isBackupId, "is no backup id");
const sequence = z.int().min(0).max(SEQUENCE_MAX);

const removedSchema = z.strictObject({
  backupId,
  sequence,
  /** Of its manifest object. */
  sha256: sha256Name,
  /** What its manifest said of its parent's. */
  parentSha256: sha256Name,
});

const mapSchema = z.strictObject({
  backupId,
  /** Of the manifest that this map is for. */
  manifestSha256: sha256Name,
  /** Counts the maps of a backup, from 1. */
  version: z.int().min(1),
  /** The backup is being removed: nothing else about it changes any more. */
  removing: z.boolean(),
  /** What the backup continues now; null: it is a base. */
  parentId: backupId.nullable(),
  parentSha256: sha256Name.nullable(),
  parentSequence: sequence.nullable(),
  /** The backups between the parent and this one that were removed, oldest first. */
  removed: z.array(removedSchema),
  /** Later ones override earlier ones. */
  indexes: z.array(
    indexSchema.extend({
      /** Of the disk of the backup that wrote it: no block that it speaks of lies past that. */
      diskBlocks: z.int().min(0).max(DISK_BLOCKS_MAX),
    }),
  ),
  /** As in a manifest; who removes and rearranges may be another machine. */
  writer: z.base64().nullable(),
  signature: z.base64().nullable(),
});

export type BackupMap = z.infer<typeof mapSchema>;

/** @throws Error when it breaks a rule, which is a bug. */
export function encodeMap(map: BackupMap, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, mapSchema.parse(map), sha256);
}

/** What `signature` signs. */
export function signedPartOf(map: BackupMap): Uint8Array {
  return bodyUpTo("signature", mapSchema.parse(map));
}

/**
 * @param stored `object`: its key. The map has to belong there.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeMap(
  stored: { object: string; bytes: Uint8Array },
  sha256: Sha256Hex,
): BackupMap {
  const { object } = stored;
  const parsed = mapSchema.safeParse(decodeDocument(KIND, stored, sha256));
  if (!parsed.success) {
    throw corruptObject(object, z.prettifyError(parsed.error).replaceAll("\n", " "));
  }
  const { version } = parsed.data;
  if (parseSidecarKey(object)?.version !== version) {
    throw corruptObject(object, `it is version ${version} of the map of a backup`);
  }
  return parsed.data;
}

/**
 * The backup as it is now. Its manifest gets the type, the parent and the index objects of the map.
 *
 * @param stored As its manifest has it.
 * @param object Key of the map.
 * @throws IbackupError CORRUPT_DATA when the map is not one of this backup, or leads elsewhere than
 *   the hash that the manifest gives of its parent.
 */
export function applyMap(
  stored: StoredManifest,
  { object, map }: { object: string; map: BackupMap },
): StoredManifest {
  const why = misfitOfMap(stored, map);
  if (why !== undefined) throw corruptObject(object, why);
  const { parentId, parentSha256, parentSequence, indexes } = map;
  const { version, removing, removed, writer } = map;
  const type = parentId === null ? "base" : "incremental";
  const manifest = { ...stored.manifest, type, parentId, parentSha256, parentSequence, indexes };
  return { ...stored, manifest: manifest as Manifest, map: { version, removing, removed, writer } };
}

function misfitOfMap({ manifest, sha256 }: StoredManifest, map: BackupMap): string | undefined {
  if (map.backupId !== manifest.backupId || map.manifestSha256 !== sha256) {
    return `it is the map of backup ${map.backupId} with SHA-256 ${map.manifestSha256}`;
  }
  const { parentId, parentSha256, parentSequence } = map;
  const isBase = parentId === null;
  if (isBase !== (parentSha256 === null) || isBase !== (parentSequence === null)) {
    return "it names a parent by half";
  }
  return isBase ? undefined : brokenWalk(manifest, map);
}

/** From what the manifest says of its parent, through the removed ones, to the parent of the map. */
function brokenWalk(manifest: Manifest, { removed, ...map }: BackupMap): string | undefined {
  let expected = { sha256: manifest.parentSha256, before: manifest.sequence };
  for (const link of removed.toReversed()) {
    if (link.sha256 !== expected.sha256 || link.sequence >= expected.before) {
      return `the removed backup ${link.backupId} is not where the hash chain leads`;
    }
    expected = { sha256: link.parentSha256, before: link.sequence };
  }
  const fits = map.parentSha256 === expected.sha256 && (map.parentSequence ?? -1) < expected.before;
  return fits ? undefined : `the hash chain does not lead to ${map.parentId}`;
}

/** The next map of a backup, that says the same as now. Nobody has signed it yet. */
export function nextMap({ manifest, sha256, map }: StoredManifest): BackupMap {
  const { backupId: id, parentId, parentSha256, parentSequence, blockCount } = manifest;
  return {
    backupId: id,
    manifestSha256: sha256,
    version: (map?.version ?? 0) + 1,
    removing: false,
    parentId,
    parentSha256,
    parentSequence,
    removed: map?.removed ?? [],
    indexes: manifest.indexes.map((index) => ({ diskBlocks: blockCount, ...index })),
    writer: null,
    signature: null,
  };
}

/**
 * The next map of a backup when those that it continues go: it takes over what they held.
 *
 * @param parents Each the parent of the next one, the last one that of `child`; not empty.
 */
export function foldParents(
  child: StoredManifest,
  parents: readonly [StoredManifest, ...StoredManifest[]],
): BackupMap {
  const [oldest] = parents;
  const { parentId, parentSha256, parentSequence } = oldest.manifest;
  const line = [...parents, child];
  const indexes = line.flatMap((stored) => nextMap(stored).indexes);
  // Nobody walks to the parent of a base.
  const removed = parentId === null ? [] : line.flatMap((one) => linksOf(one, one !== child));
  return { ...nextMap(child), parentId, parentSha256, parentSequence, removed, indexes };
}

/** The links that a backup has taken over, and where it goes itself, its own. */
function linksOf({ manifest, sha256, map }: StoredManifest, goes: boolean): RemovedBackup[] {
  const removed = map?.removed ?? [];
  // What the manifest object itself says of its parent's hash.
  const parentSha256 = removed.at(-1)?.sha256 ?? manifest.parentSha256;
  if (!goes || parentSha256 === null) return removed;
  const { backupId: id, sequence: number } = manifest;
  return [...removed, { backupId: id, sequence: number, sha256, parentSha256 }];
}

/**
 * The next map of the last backup of a chain that makes it a base.
 *
 * @param chain Base first, from `chainOf`.
 */
export function synthesizeBase(chain: readonly StoredManifest[]): BackupMap {
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const indexes = chain.flatMap((stored) => nextMap(stored).indexes);
  const none = { parentId: null, parentSha256: null, parentSequence: null };
  return { ...nextMap(last), ...none, removed: [], indexes };
}
