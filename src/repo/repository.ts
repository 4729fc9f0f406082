import { randomBytes } from "node:crypto";
import { z } from "zod";
import { inChainOrder, parentKeyOf } from "../core/chain.ts";
import { corruptObject } from "../core/corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument } from "../core/document.ts";
import { DOCUMENT_BYTES_MAX } from "../core/limits.ts";
import {
  encodeManifest,
  keyOfManifest,
  type Manifest,
  type ManifestDetails,
  type StoredManifest,
} from "../core/manifest.ts";
import { SEAL_KEY_BYTES } from "../core/seal.ts";
import { assert, IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { IndexCache } from "./index_cache.ts";
import { type DamagedManifest, readManifest, readManifests, tryManifest } from "./manifest_list.ts";
import { openDetails } from "./manifest_seal.ts";
import { Opener, type Unwrap } from "./opener.ts";
import { putOnce } from "./put_once.ts";
import { NO_SEALER, openSealer, type Sealer } from "./sealer.ts";
import { sha256Hex } from "./sha256.ts";

/** Where the document lies that makes a repository. */
export const REPOSITORY_KEY = "repository";
const KIND: DocumentKind = { name: "repository", version: 1 };

const documentSchema = z.strictObject({
  /** UUID. */
  id: z.uuid(),
  createdAt: z.iso.datetime({ precision: 3 }),
  encryption: z.enum(["none", "age"]),
  /** What backups are sealed to, until the keys change; null without encryption. */
  recipient: z.string().nullable(),
});

/** How the data keys of a sealed repository are wrapped. */
export interface RepositoryKeys {
  /** Needs no secret. */
  wrap(dataKey: Uint8Array): Promise<Uint8Array>;
  unwrap: Unwrap;
  /** Whether the user gave an identity. Whether it fits is seen by `unwrap`. */
  hasIdentity: boolean;
}

/** Gives the keys of a sealed repository for its id. */
export type FindKeys = (repositoryId: string) => RepositoryKeys;

/** What a new repository is told about itself. */
export interface RepositoryOptions {
  /** A random UUID. */
  id: string;
  createdAt: Date;
  /** The first public key that backups are sealed to. Undefined: nothing is sealed. */
  recipient?: string | undefined;
}

/**
 * Makes an empty repository.
 *
 * @throws IbackupError REPOSITORY_EXISTS when there is one already.
 */
export async function createRepository(
  store: Store,
  options: RepositoryOptions,
  findKeys?: FindKeys,
): Promise<Repository> {
  const { id, createdAt, recipient = null } = options;
  const encryption = recipient === null ? "none" : "age";
  const document = { id, createdAt: createdAt.toISOString(), encryption, recipient };
  const bytes = encodeDocument(KIND, documentSchema.parse(document), sha256Hex);
  if (!(await putOnce(store, REPOSITORY_KEY, bytes))) {
    throw new IbackupError("REPOSITORY_EXISTS", `Cannot make a repository in ${store.url}`, {
      why: "there is one already",
      fix: "use it as it is, or choose another place",
    });
  }
  return new Repository(store, id, recipient === null ? undefined : keysBy(findKeys, id));
}

/**
 * @param findKeys Undefined: a sealed repository is refused.
 * @throws IbackupError REPOSITORY_MISSING, REPOSITORY_FORMAT for a newer one, or CORRUPT_DATA.
 */
export async function openRepository(store: Store, findKeys?: FindKeys): Promise<Repository> {
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
  const { id, encryption } = parsed.data;
  return new Repository(store, id, encryption === "none" ? undefined : keysBy(findKeys, id));
}

function keysBy(findKeys: FindKeys | undefined, id: string): RepositoryKeys {
  assert(findKeys !== undefined, "a sealed repository is opened by whoever knows of keys");
  return findKeys(id);
}

/** Makes the same repository elsewhere, without backups, unless there is one. */
export async function cloneRepository(from: Repository, to: Store): Promise<void> {
  if ((await to.head(REPOSITORY_KEY)) !== undefined) return;
  const bytes = await from.store.get(REPOSITORY_KEY, { maxBytes: DOCUMENT_BYTES_MAX });
  if (bytes === undefined) throw corruptObject(REPOSITORY_KEY, "it is missing");
  // Another one may be making one there: whoever opens it will see which.
  await putOnce(to, REPOSITORY_KEY, bytes);
}

/** The backups of many disks in one store. */
export class Repository {
  readonly store: Store;
  /** UUID. */
  readonly id: string;
  /** Decoded index objects, kept within a limit of bytes. */
  readonly indexes: IndexCache;
  readonly #keys: RepositoryKeys | undefined;
  readonly #opener: Opener;

  /** @param keys Undefined without encryption. */
  constructor(store: Store, id: string, keys?: RepositoryKeys) {
    this.store = store;
    this.id = id;
    this.#keys = keys;
    this.#opener = new Opener(id, keys?.unwrap ?? unwrapNothing);
    this.indexes = new IndexCache(store, this.#opener);
  }

  get isSealed(): boolean {
    return this.#keys !== undefined;
  }

  /** Whether there is any use in trying to open what is sealed. */
  get canOpen(): boolean {
    return this.#keys?.hasIdentity ?? true;
  }

  /** Opens the packs of this repository, without an index object. */
  get opener(): Opener {
    return this.#opener;
  }

  /** For one backup. Whoever calls closes it. */
  async sealer(): Promise<Sealer> {
    if (this.#keys === undefined) return NO_SEALER;
    const dataKey = new Uint8Array(randomBytes(SEAL_KEY_BYTES));
    return openSealer(this.id, { dataKey, wrappedKey: await this.#keys.wrap(dataKey) });
  }

  /**
   * What of a backup is not for everybody.
   *
   * @throws IbackupError NO_KEY without a fitting identity; CORRUPT_DATA.
   */
  async detailsOf({ key, sha256 }: StoredManifest): Promise<ManifestDetails> {
    const stored = await readManifest(this, key);
    if (stored?.sha256 !== sha256) throw corruptObject(key, "it is not as it was a moment ago");
    return await openDetails(stored, this.#opener);
  }

  /**
   * All backups as they are now, oldest first; a parent always stands before its children.
   *
   * @param onDamaged Told of each backup whose manifest or map cannot be read. Without it the first
   *   one throws: a backup that is there but unreadable is not the same as no backup.
   * @param known Found a moment ago. What has not changed since is not read again.
   */
  async manifests(
    onDamaged?: (damaged: DamagedManifest) => void,
    known: readonly StoredManifest[] = [],
  ): Promise<StoredManifest[]> {
    const { found, damaged } = await readManifests(this, known);
    for (const one of damaged) {
      if (onDamaged) onDamaged(one);
      else throw one.error;
    }
    return inChainOrder(found);
  }

  /** The digest by which the children of a backup name its manifest. */
  digestOf(manifest: Manifest): string {
    return sha256Hex(encodeManifest(manifest, sha256Hex));
  }

  /**
   * Makes the backup exist. All that the manifest names has to be stored already.
   *
   * This is the fence: of all writers that want to be the backup of this sequence, one is. It needs
   * no lock and no clock, only a store that honours the condition of `putIfAbsent`.
   * Committing the same manifest again is fine: an answer may have been lost on its way.
   * @throws IbackupError LOCKED when another writer was first; CORRUPT_DATA when the parent is gone
   *   or is another one. Nothing is committed then.
   */
  async commit(manifest: Manifest): Promise<StoredManifest> {
    const bytes = encodeManifest(manifest, sha256Hex);
    const key = keyOfManifest(manifest, sha256Hex);
    const stored = { manifest, key, sha256: sha256Hex(bytes) };
    await this.#checkParent(stored);
    if (!(await putOnce(this.store, key, bytes))) throw await this.#overtaken(stored);
    return stored;
  }

  async #checkParent(child: StoredManifest): Promise<void> {
    const key = parentKeyOf(child);
    if (key === undefined) return;
    const parent = await readManifest(this, key);
    const { backupId, parentSha256 } = child.manifest;
    if (parent !== undefined && parent.sha256 === parentSha256) return;
    const fate = parent ? "another one now" : "gone";
    throw corruptObject(key, `backup ${backupId} continues it, but it is ${fate}`);
  }

  /** What to say when the place of a manifest is taken. */
  async #overtaken({ manifest, key }: StoredManifest): Promise<IbackupError> {
    const found = await tryManifest(this, key);
    const isRead = found !== undefined && "manifest" in found;
    const other = isRead ? `the backup ${found.manifest.backupId}` : "a backup";
    return new IbackupError("LOCKED", `Cannot store the backup ${manifest.backupId}`, {
      why: `another ibackup has stored ${other} of disk "${manifest.disk.name}" of "${manifest.vmId}" meanwhile`,
      fix: "run the command again: it continues that backup. Two machines need names of their own (--vm) in one repository; nothing was committed",
    });
  }
}

async function unwrapNothing(): Promise<never> {
  throw new IbackupError("CORRUPT_DATA", "Cannot open a sealed object", {
    why: "the repository has no keys: nothing in it is sealed",
    fix: "run `ibackup verify` to see what else does not belong here",
  });
}
