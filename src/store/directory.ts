import { constants } from "node:fs";
import { type FileHandle, lstat, open, unlink } from "node:fs/promises";
import { join, posix } from "node:path";
import { pathToFileURL } from "node:url";
import type { StoreSettings } from "../core/store_settings.ts";
import { systemCodeOf } from "../errors.ts";
import { Bandwidth } from "./bandwidth.ts";
import { directoryError, noLock } from "./directory_errors.ts";
import { listFolder, notAFile, sweepTemporaryFiles } from "./directory_list.ts";
import { DirectoryRoot, syncFolder } from "./directory_root.ts";
import { claimName, takeName, withTemporaryFile } from "./directory_write.ts";
import { assertKey, assertPrefix } from "./key.ts";
import { type ConditionalPut, failedProbe, runProbe, sentenceOf } from "./probe.ts";
import type {
  ByteRange,
  EraseOptions,
  Keys,
  PutOptions,
  Store,
  StoredObject,
  StoreProbe,
} from "./store.ts";
import { tooLarge } from "./too_large.ts";

/** O_NONBLOCK: opening a planted FIFO must not hang. */
const OPEN_TO_READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * A repository in a folder: each object is a file of the same name.
 *
 * A put writes `.tmp-*` in the top folder, syncs it, gives it its name in one step, and syncs the
 * folder: after a power cut an object is whole or absent. A folder that does not exist reads as
 * empty, and the first put makes it, readable for its owner only.
 */
export class DirectoryStore implements Store {
  readonly url: string;
  /** There is no distance to hide, and each has a pack in memory. */
  readonly parallelUploads = 2;
  readonly #root: DirectoryRoot;
  #swept: Promise<void> | undefined;

  readonly #bandwidth: Bandwidth | undefined;

  /**
   * @param path Absolute.
   * @param settings Only the limit of bandwidth means something to a folder.
   */
  constructor(path: string, { uploadBytesPerSecond }: StoreSettings = {}) {
    this.url = pathToFileURL(path).href;
    this.#root = new DirectoryRoot(path);
    if (uploadBytesPerSecond !== undefined) this.#bandwidth = new Bandwidth(uploadBytesPerSecond);
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<void> {
    await this.#write(key, body, { name: takeName, signal: options?.signal });
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    // Spares the write where the answer is known; `claimName` decides all the same.
    if ((await this.head(key)) !== undefined) return false;
    const outcome = await this.#write(key, body, { name: claimName });
    return outcome !== "exists";
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    return await this.#read(key, async (file, sizeBytes) => {
      if (sizeBytes > options.maxBytes)
        throw tooLarge(this.#place(key), sizeBytes, options.maxBytes);
      return await readUpTo(file, { offset: 0, length: sizeBytes });
    });
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    return await this.#read(key, async (file, sizeBytes) => {
      const length = Math.max(0, Math.min(range.length, sizeBytes - range.offset));
      return await readUpTo(file, { offset: range.offset, length });
    });
  }

  async head(key: string): Promise<number | undefined> {
    return await this.#read(key, async (_file, sizeBytes) => sizeBytes);
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    try {
      const keyStart = prefix.slice(0, prefix.lastIndexOf("/") + 1);
      const folder = await this.#root.findFolderOf(prefix);
      if (folder !== undefined) yield* listFolder({ folder, keyStart, prefix });
    } catch (error) {
      throw directoryError(`Cannot list "${this.#place(prefix)}"`, error);
    }
  }

  async delete(key: string): Promise<void> {
    await this.erase([key]);
  }

  async erase(keys: Keys, options: EraseOptions = {}): Promise<void> {
    const touched = new Set<string>();
    for await (const key of keys) {
      options.signal?.throwIfAborted();
      const folder = await this.#unlink(key);
      if (folder !== undefined) touched.add(folder);
    }
    for (const folder of touched) await this.#syncRemoval(folder);
  }

  /** @returns The folder that the object was in, unless there was none. */
  async #unlink(key: string): Promise<string | undefined> {
    assertKey(key);
    try {
      const folder = await this.#root.findFolderOf(key);
      if (folder === undefined) return undefined;
      await unlink(join(folder, posix.basename(key)));
      return folder;
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT") {
        throw directoryError(`Cannot remove "${this.#place(key)}"`, error);
      }
      await this.#checkStillThere();
      return undefined;
    }
  }

  /** A removed manifest must not come back after a power cut: gc may have removed its packs. */
  async #syncRemoval(folder: string): Promise<void> {
    try {
      await syncFolder(folder);
    } catch (error) {
      throw directoryError(`Cannot remove from "${folder}"`, error);
    }
  }

  async extendRetention(key: string): Promise<Date> {
    throw noLock(this.#place(key));
  }

  async probe(): Promise<StoreProbe> {
    try {
      const root = await this.#root.find();
      if (root === undefined) {
        return { ...failedProbe(`There is no folder ${this.url} yet.`), isMissing: true };
      }
    } catch (error) {
      return failedProbe(sentenceOf(directoryError(`Cannot use "${this.url}"`, error)));
    }
    return await runProbe({
      put: (key, body) => this.put(key, body),
      get: (key) => this.get(key, { maxBytes: 4096 }),
      delete: (key) => this.delete(key),
      putOverExisting: (key, body) => this.#tryHardLink(`${key}-link`, body),
      facts: async ({ conditionalPut }) => ({
        fence: conditionalPut === "honoured" ? "condition" : "none",
        versioning: false,
        objectLock: false,
      }),
    });
  }

  async close(): Promise<void> {}

  /** On a name that is free: an existing one answers "exists" even where there are no hard links. */
  async #tryHardLink(key: string, body: Uint8Array): Promise<ConditionalPut> {
    const outcome = await this.#write(key, body, { name: claimName });
    await this.delete(key);
    return outcome === "claimed" ? "honoured" : "unsupported";
  }

  #place(key: string): string {
    return `${this.url}/${key}`;
  }

  async #write<T>(key: string, body: Uint8Array, how: HowToWrite<T>): Promise<T> {
    assertKey(key);
    how.signal?.throwIfAborted();
    try {
      const root = await this.#root.create();
      this.#swept ??= sweepTemporaryFiles(root);
      await this.#swept;
      const folder = await this.#root.createFolderOf(key);
      const target = join(folder, posix.basename(key));
      const pieces = this.#bandwidth?.pass(body, how.signal) ?? [body];
      return await withTemporaryFile({ root, pieces }, async (temporary) => {
        how.signal?.throwIfAborted();
        const outcome = await how.name(temporary, target);
        await syncFolder(folder);
        return outcome;
      });
    } catch (error) {
      throw directoryError(`Cannot write "${this.#place(key)}"`, error);
    }
  }

  async #read<T>(
    key: string,
    use: (file: FileHandle, sizeBytes: number) => Promise<T>,
  ): Promise<T | undefined> {
    assertKey(key);
    try {
      const folder = await this.#root.findFolderOf(key);
      if (folder !== undefined) return await useFile(join(folder, posix.basename(key)), use);
    } catch (error) {
      if (systemCodeOf(error) !== "ENOENT") {
        throw directoryError(`Cannot read "${this.#place(key)}"`, error);
      }
    }
    await this.#checkStillThere();
    return undefined;
  }

  /** "No such file" is an answer only while the top folder is the one it was. */
  async #checkStillThere(): Promise<void> {
    try {
      await this.#root.find();
    } catch (error) {
      throw directoryError(`Cannot read "${this.url}"`, error);
    }
  }
}

interface HowToWrite<T> {
  name: (temporary: string, target: string) => Promise<T>;
  signal?: AbortSignal | undefined;
}

async function useFile<T>(
  path: string,
  use: (file: FileHandle, sizeBytes: number) => Promise<T>,
): Promise<T> {
  const file = await openPlain(path);
  try {
    const found = await file.stat();
    if (!found.isFile()) throw notAFile(path);
    return await use(file, found.size);
  } finally {
    await file.close();
  }
}

async function openPlain(path: string): Promise<FileHandle> {
  try {
    return await open(path, OPEN_TO_READ);
  } catch (error) {
    // ELOOP: a link, refused by O_NOFOLLOW. ENXIO: a socket.
    if (systemCodeOf(error) !== "ENOENT" && !(await lstat(path)).isFile()) throw notAFile(path);
    throw error;
  }
}

/** Fewer bytes than asked only where the file ends early. */
async function readUpTo(file: FileHandle, range: ByteRange): Promise<Uint8Array> {
  const bytes = new Uint8Array(range.length);
  let done = 0;
  while (done < bytes.length) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, range.offset + done);
    if (bytesRead === 0) return bytes.subarray(0, done);
    done += bytesRead;
  }
  return bytes;
}
