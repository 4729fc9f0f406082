import { z } from "zod";
import { isBackupId } from "../core/backup_id.ts";
import { inChainOrder, manifestKey } from "../core/chain.ts";
import { corruptObject } from "../core/corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument } from "../core/document.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import {
  decodeManifest,
  encodeManifest,
  type Manifest,
  type StoredManifest,
} from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { assert, IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { IndexCache } from "./index_cache.ts";
import { sha256Hex } from "./sha256.ts";

const REPOSITORY_KEY = "repository";
const KIND: DocumentKind = { name: "repository", version: 1 };
const MANIFEST_PREFIX = "manifests/";
const MANIFEST_GETS_IN_FLIGHT = 16;

const documentSchema = z.strictObject({
  /** UUID. */
  id: z.uuid(),
  createdAt: z.iso.datetime({ precision: 3 }),
  encryption: z.literal("none"),
});

/** What a new repository is told about itself. */
export interface RepositoryOptions {
  /** A random UUID. */
  id: string;
  createdAt: Date;
}

/**
 * Makes an empty repository.
 *
 * @throws IbackupError REPOSITORY_EXISTS when there is one already.
 */
export async function createRepository(
  store: Store,
  options: RepositoryOptions,
): Promise<Repository> {
  const { id, createdAt } = options;
  const document = { id, createdAt: createdAt.toISOString(), encryption: "none" };
  const bytes = encodeDocument(KIND, documentSchema.parse(document), sha256Hex);
  if (!(await putOnce(store, REPOSITORY_KEY, bytes))) {
    throw new IbackupError("REPOSITORY_EXISTS", `Cannot make a repository in ${store.url}`, {
      why: "there is one already",
      fix: "use it as it is, or choose another place",
    });
  }
  return new Repository(store, id);
}

/**
 * @throws IbackupError REPOSITORY_MISSING, REPOSITORY_FORMAT for a newer one, or CORRUPT_DATA.
 */
export async function openRepository(store: Store): Promise<Repository> {
  const bytes = await store.get(REPOSITORY_KEY, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) {
    throw new IbackupError("REPOSITORY_MISSING", `Cannot open a repository in ${store.url}`, {
      why: `there is no object "${REPOSITORY_KEY}"`,
      fix: "check the URL, or make a repository with `ibackup init`",
    });
  }
  const value = decodeDocument(KIND, { object: REPOSITORY_KEY, bytes }, sha256Hex);
  const parsed = documentSchema.safeParse(value);
  if (!parsed.success) {
    throw corruptObject(REPOSITORY_KEY, z.prettifyError(parsed.error).replaceAll("\n", " "));
  }
  return new Repository(store, parsed.data.id);
}

/** A backup whose manifest is there but cannot be read. */
export interface DamagedManifest {
  backupId: string;
  error: IbackupError;
}

/** The backups of many disks in one store. */
export class Repository {
  readonly store: Store;
  /** UUID. */
  readonly id: string;
  /** Decoded index objects, kept within a limit of bytes. */
  readonly indexes: IndexCache;

  constructor(store: Store, id: string) {
    this.store = store;
    this.id = id;
    this.indexes = new IndexCache(store);
  }

  /**
   * All backups, oldest first; a parent always stands before its children.
   *
   * @param onDamaged Told of each manifest that cannot be read. Without it the first one throws:
   *   a backup that is there but unreadable is not the same as no backup.
   */
  async manifests(onDamaged?: (damaged: DamagedManifest) => void): Promise<StoredManifest[]> {
    const found: StoredManifest[] = [];
    const work = (backupId: string) => this.#tryManifest(backupId);
    for await (const result of mapInOrder(this.#backupIds(), MANIFEST_GETS_IN_FLIGHT, work)) {
      if ("manifest" in result) found.push(result);
      else if (onDamaged) onDamaged(result);
      else throw result.error;
    }
    return inChainOrder(found);
  }

  /** @throws IbackupError BACKUP_UNKNOWN, CORRUPT_DATA or REPOSITORY_FORMAT. */
  async manifest(backupId: string): Promise<StoredManifest> {
    const stored = isBackupId(backupId) ? await this.#readManifest(backupId) : undefined;
    if (stored) return stored;
    throw new IbackupError("BACKUP_UNKNOWN", `Cannot find the backup "${backupId}"`, {
      why: `there is none of that id in ${this.store.url}`,
      fix: "run `ibackup list` to see the backups",
    });
  }

  /**
   * Makes the backup exist. All that the manifest names has to be stored already.
   *
   * Committing the same manifest again is fine: an answer may have been lost on its way.
   * @throws IbackupError CORRUPT_DATA when the parent is gone or is another one; nothing is
   *   committed then.
   */
  async commit(manifest: Manifest): Promise<StoredManifest> {
    const bytes = encodeManifest(manifest, sha256Hex);
    if (manifest.parentId !== null) await this.#checkParent(manifest, manifest.parentId);
    const key = manifestKey(manifest.backupId);
    if (!(await putOnce(this.store, key, bytes))) {
      throw new IbackupError("REPOSITORY_EXISTS", `Cannot store the backup ${manifest.backupId}`, {
        why: `another backup has the same id in ${this.store.url}`,
        fix: "run the command again: it takes another id",
      });
    }
    return { manifest, sha256: sha256Hex(bytes) };
  }

  async #checkParent(manifest: Manifest, parentId: string): Promise<void> {
    const parent = await this.#readManifest(parentId);
    if (parent !== undefined && parent.sha256 === manifest.parentSha256) return;
    throw corruptObject(
      manifestKey(parentId),
      `backup ${manifest.backupId} continues it, but it is ${parent ? "another one now" : "gone"}`,
    );
  }

  async *#backupIds(): AsyncGenerator<string> {
    for await (const { key } of this.store.list(MANIFEST_PREFIX)) {
      const backupId = key.slice(MANIFEST_PREFIX.length);
      if (isBackupId(backupId)) yield backupId;
    }
  }

  /** A manifest that is listed: gone or damaged is an answer, an unreachable store is not. */
  async #tryManifest(backupId: string): Promise<StoredManifest | DamagedManifest> {
    try {
      const stored = await this.#readManifest(backupId);
      if (stored) return stored;
      const error = corruptObject(manifestKey(backupId), "it is listed but cannot be got");
      return { backupId, error };
    } catch (error) {
      const isDamage = error instanceof IbackupError && DAMAGE_CODES.has(error.code);
      if (isDamage) return { backupId, error };
      throw error;
    }
  }

  async #readManifest(backupId: string): Promise<StoredManifest | undefined> {
    const object = manifestKey(backupId);
    const bytes = await this.store.get(object, { maxBytes: DOCUMENT_BYTES_MAX });
    if (bytes === undefined) return undefined;
    return { manifest: decodeManifest({ object, bytes }, sha256Hex), sha256: sha256Hex(bytes) };
  }
}

const DAMAGE_CODES: ReadonlySet<string> = new Set(["CORRUPT_DATA", "REPOSITORY_FORMAT"]);

/**
 * Stores an object that must not exist yet.
 *
 * @returns False when another one is there. One with the same bytes counts as stored: the store
 *   retries, and its first attempt may have worked although the answer was lost.
 */
async function putOnce(store: Store, key: string, bytes: Uint8Array): Promise<boolean> {
  assert(bytes.length <= DOCUMENT_BYTES_MAX, "a document keeps to its limit");
  if (await store.putIfAbsent(key, bytes)) return true;
  const present = await store.get(key, { maxBytes: DOCUMENT_BYTES_MAX });
  return present !== undefined && sha256Hex(present) === sha256Hex(bytes);
}
