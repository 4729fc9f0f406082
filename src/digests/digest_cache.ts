/**
 * Digests of every block of the newest backup, on the machine that took it.
 *
 * With them a disk is compared with a backup by reading the disk alone. They are a cache: what is
 * missing, stale or damaged is not known, and what is not known is read from the repository.
 */
import { messageOf } from "../errors.ts";
import { readCacheKey } from "./cache_key.ts";
import type { DiskShape } from "./digest_file.ts";
import { Digester } from "./digester.ts";
import { CACHE_FILES, type CacheFiles } from "./files.ts";
import { KnownDigests } from "./known_digests.ts";
import { type CachePlace, type DescribedBackup, openDescribed } from "./place.ts";
import { CacheRecorder, type DigestRecorder } from "./recorder.ts";

export interface CacheOptions extends Omit<CachePlace, "files" | "path" | "seal"> {
  /** Private to root. */
  folder: string;
  repositoryId: string;
  diskTag: string;
  now: Date;
  /** For tests. */
  files?: CacheFiles | undefined;
}

/** Every backup writes to the file of its disk; one that none has written to is of a disk that is gone. */
const UNUSED_MS = 90 * 24 * 3_600_000;

/** @throws What the system says. */
export async function openDigestCache(options: CacheOptions): Promise<DigestCache> {
  const files = options.files ?? CACHE_FILES;
  const folder = `${options.folder}/digests`;
  files.makeFolder(folder);
  const key = await readCacheKey(options.folder, files, options.random);
  const name = `${options.repositoryId}-${options.diskTag}`;
  for (const left of files.list(folder)) {
    // The draft of an ibackup that was killed.
    const isDraft = left.name.startsWith(`${name}.`);
    const isUnused = left.name !== name && options.now.getTime() - left.writtenMs > UNUSED_MS;
    if (isDraft || isUnused) files.remove(`${folder}/${left.name}`);
  }
  const seal = { key, digester: new Digester(key), name };
  return new DigestCache({ ...options, files, path: `${folder}/${name}`, seal });
}

export class DigestCache {
  readonly #place: CachePlace;

  constructor(place: CachePlace) {
    this.#place = place;
  }

  /** The digests of a backup; undefined when the cache does not have them. To be closed. */
  known(backup: DescribedBackup): KnownDigests | undefined {
    try {
      const file = openDescribed(this.#place, backup);
      return file && new KnownDigests(file, this.#place.seal.digester);
    } catch (error) {
      this.#place.onDropped(messageOf(error));
      return undefined;
    }
  }

  /**
   * @param shape Of the disk as the backup will have it.
   * @param parent Blocks that are not added are as in this backup; undefined: they are not known.
   */
  record(shape: DiskShape, parent: DescribedBackup | undefined): DigestRecorder {
    return new CacheRecorder(this.#place, shape, parent);
  }
}
