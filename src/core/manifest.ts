import { z } from "zod";
import { isBackupId } from "./backup_id.ts";
import { corruptObject } from "./corrupt.ts";
import {
  bodyUpTo as bodyOfUpTo,
  type DocumentKind,
  decodeDocument,
  encodeDocument,
  parseJson,
  type Sha256Hex,
} from "./document.ts";
import { BLOCK_BYTES_MAX, BLOCK_BYTES_MIN, DISK_BLOCKS_MAX } from "./limits.ts";
import { diskTagOf, manifestKey, SEQUENCE_MAX } from "./manifest_key.ts";

const KIND: DocumentKind = { name: "manifest", version: 1 };

const count = z.int().min(0);
const blocks = z.int().min(0).max(DISK_BLOCKS_MAX);
const sha256Name = z.string().regex(/^[0-9a-f]{64}$/, "is no SHA-256");
const backupId = z.string().refine(isBackupId, "is no backup id");
const instant = z.iso.datetime({ precision: 3 });
const name = z.string().min(1).max(1024);
const sequence = z.int().min(0).max(SEQUENCE_MAX);

const diskSchema = z.strictObject({
  /** The name that the user gave: a device name alone proves nothing after a reboot. */
  name,
  sizeBytes: count,
  logicalBlockBytes: z.int().min(512).max(BLOCK_BYTES_MAX),
  identity: z.strictObject({ kind: z.enum(["serial", "wwn", "ptuuid", "name"]), value: name }),
});

const trackingSchema = z.strictObject({
  bootId: name,
  /** UUID of the tracking session. */
  session: name,
  epoch: count,
  hooks: z.array(name),
  lostEvents: count,
  taints: z.array(z.strictObject({ reason: name, count })),
});

/** What became of a file system of the disk when it was to be frozen. */
const fileSystemSchema = z.strictObject({
  mountpoint: z.string().min(1),
  /** "ext4". */
  fileSystem: name,
  outcome: z.enum([
    "frozen",
    "read-only",
    "unsupported",
    "already frozen",
    "unreachable",
    "not tried",
  ]),
});

/** What only whoever can restore the backup may know. */
const detailsSchema = z.strictObject({
  partitionTableSha256: sha256Name.nullable(),
  /** Of the verdict of the gap check. */
  gapReason: z.string(),
  tracking: trackingSchema.nullable(),
  /** What was mounted of the disk. */
  fileSystems: z.array(fileSystemSchema),
});

const sealSchema = z.strictObject({ salt: z.base64(), wrappedKey: z.base64().min(1) });

/** An index object of the backup. Order matters: later ones override earlier ones. */
export const indexSchema = z.strictObject({
  /** SHA-256 of the index object. */
  name: sha256Name,
  sizeBytes: z.int().min(1),
  /** All blocks that it speaks of lie in `[firstBlock, firstBlock + blockCount)`. */
  firstBlock: blocks,
  blockCount: z.int().min(1).max(DISK_BLOCKS_MAX),
  /** Data frames in it; zero records are not counted. */
  frameCount: count,
});

const fieldsSchema = z.strictObject({
  backupId,
  vmId: name,
  disk: diskSchema,
  type: z.enum(["base", "incremental"]),
  parentId: backupId.nullable(),
  /** SHA-256 of the parent's whole manifest object: the parent cannot be replaced unnoticed. */
  parentSha256: sha256Name.nullable(),
  parentSequence: sequence.nullable(),
  /**
   * Counts the backups of a disk, bases included: it alone gives their order. There may be gaps,
   * where backups were removed.
   */
  sequence,
  /** The instant that the backup represents. */
  capturedAt: instant,
  startedAt: instant,
  finishedAt: instant,
  consistency: z.enum(["frozen", "quiet", "fuzzy"]),
  gapCheck: z.enum(["base", "trusted", "compared"]),
  /** Why it was taken, in words. */
  trigger: name.optional(),
  /** The longest freeze; null when there was none. */
  freezeMs: z.number().min(0).nullable(),
  passes: z.int().min(1),
  blockBytes: z.int().min(BLOCK_BYTES_MIN).max(BLOCK_BYTES_MAX),
  blockCount: blocks,
  /** Blocks that the backup holds, those of zeroes included; one read in two passes counts twice. */
  blocksChanged: count,
  blocksZero: count,
  bytesRead: count,
  /** Bytes of its packs and index objects. */
  bytesStored: count,
  indexes: z.array(indexSchema),
  ibackupVersion: name,
  // These come last, in this order: what stands before `details` is what its seal is bound to, and
  // what stands before `signature` is what is signed.
  /** Null where nothing is sealed. */
  seal: sealSchema.nullable(),
  /** Sealed, in base64. */
  details: z.union([detailsSchema, z.base64().min(1)]),
  /** Ed25519 key of the machine that wrote it: 32 bytes in base64. */
  writer: z.base64().nullable(),
  signature: z.base64().nullable(),
});

const manifestSchema = fieldsSchema.superRefine((manifest, context) => {
  for (const [holds, rule] of rulesOf(manifest)) {
    if (!holds) context.addIssue({ code: "custom", message: rule });
  }
});

/** An index object, as a manifest or a map lists it. */
export interface ManifestIndex extends z.infer<typeof indexSchema> {
  /** Of the disk when it was written, where that was not the disk of this backup. */
  diskBlocks?: number;
}

/** What a backup is. The object that holds it, stored last, makes the backup exist. */
export interface Manifest extends Omit<z.infer<typeof fieldsSchema>, "indexes"> {
  indexes: ManifestIndex[];
}
export type ManifestDetails = z.infer<typeof detailsSchema>;

/** A manifest before it is sealed and signed. */
export interface ManifestDraft extends Omit<Manifest, "seal" | "details" | "writer" | "signature"> {
  details: ManifestDetails;
}

/** A backup that was removed from a chain: the link that the chain of hashes has there. */
export interface RemovedBackup {
  backupId: string;
  sequence: number;
  /** Of its manifest object. */
  sha256: string;
  /** What its manifest said of its parent's. */
  parentSha256: string;
}

/** What is known of the map of a backup, besides what went into its manifest. */
export interface MapFacts {
  version: number;
  /** The backup is being removed: nothing else about it changes any more. */
  removing: boolean;
  /** The backups between its parent and itself that were removed, oldest first. */
  removed: RemovedBackup[];
  /** Who signed it; null: nobody. */
  writer: string | null;
}

/** A manifest, where it lies, and the digest by which its children name it. */
export interface StoredManifest {
  /** With type, parent and index objects as they are now, where there is a map. */
  manifest: Manifest;
  /** `manifests/<disk tag>/<sequence>`. */
  key: string;
  /** SHA-256 of the whole object. */
  sha256: string;
  /** Of the map, when there is one. */
  map?: MapFacts;
}

/** Facts that hold between fields. */
function rulesOf(manifest: Manifest): [boolean, string][] {
  const isBase = manifest.type === "base";
  const { blockBytes, blockCount, disk, parentSequence } = manifest;
  return [
    [isBase === (manifest.parentId === null), "only a base has no parent"],
    [isBase === (manifest.parentSha256 === null), "a parent is named by id and by SHA-256"],
    [isBase === (parentSequence === null), "a parent is named by its sequence too"],
    // So following parents always ends.
    [(parentSequence ?? -1) < manifest.sequence, "a backup comes after its parent"],
    [isBase === (manifest.gapCheck === "base"), "only a base has the verdict base"],
    [manifest.parentId !== manifest.backupId, "a backup is not its own parent"],
    [(blockBytes & (blockBytes - 1)) === 0, "blockBytes is a power of two"],
    [blockCount === Math.ceil(disk.sizeBytes / blockBytes), "the blocks cover the disk, no more"],
    [manifest.blocksZero <= manifest.blocksChanged, "blocks of zeroes are changed blocks"],
    [(manifest.seal === null) === (typeof manifest.details === "object"), "a seal has a key"],
    [(manifest.writer === null) === (manifest.signature === null), "who signs has a key"],
    [
      manifest.indexes.every((index) => index.firstBlock + index.blockCount <= blockCount),
      "the index objects speak of blocks on the disk",
    ],
  ];
}

/**
 * Checks the manifest first, as `decodeManifest` will: what is stored can be read.
 *
 * @throws Error when it breaks a rule, which is a bug.
 */
export function encodeManifest(manifest: Manifest, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, manifestSchema.parse(manifest), sha256);
}

/**
 * The beginning of a manifest's body, up to the line of a field: what the seal of `details` is bound
 * to, or what `signature` signs. Fields from there on may hold anything that the schema takes.
 */
export function bodyUpTo(field: "details" | "signature", manifest: Manifest): Uint8Array {
  return bodyOfUpTo(field, manifestSchema.parse(manifest));
}

/** @param opened The details of a manifest, opened: JSON in UTF-8. @throws IbackupError CORRUPT_DATA. */
export function decodeDetails(object: string, opened: Uint8Array): ManifestDetails {
  const parsed = detailsSchema.safeParse(parseJson(object, opened));
  if (parsed.success) return parsed.data;
  throw corruptObject(object, z.prettifyError(parsed.error).replaceAll("\n", " "));
}

/** The key that belongs to a manifest: its disk and its sequence make it. */
export function keyOfManifest({ vmId, disk, sequence }: Manifest, sha256: Sha256Hex): string {
  return manifestKey({ diskTag: diskTagOf({ vmId, diskName: disk.name }, sha256), sequence });
}

/**
 * @param stored `object`: its key. The manifest has to belong there, so that one that is stored in
 *   the place of another is noticed.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeManifest(
  stored: { object: string; bytes: Uint8Array },
  sha256: Sha256Hex,
): Manifest {
  const parsed = manifestSchema.safeParse(decodeDocument(KIND, stored, sha256));
  if (!parsed.success) {
    throw corruptObject(stored.object, z.prettifyError(parsed.error).replaceAll("\n", " "));
  }
  const key = keyOfManifest(parsed.data, sha256);
  if (stored.object !== key) {
    const { backupId } = parsed.data;
    throw corruptObject(stored.object, `it is the manifest of backup ${backupId}, of "${key}"`);
  }
  return parsed.data;
}
