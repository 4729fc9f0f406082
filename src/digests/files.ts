/** The few calls by which the cache touches the disk: behind an interface, so that tests can fail each. */
import {
  closeSync,
  constants,
  fsync,
  mkdirSync,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { promisify } from "node:util";
import { systemCodeOf } from "../errors.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR } = constants;
const fsyncLater = promisify(fsync);
const readLater = promisify(read);

/** An open file. Every call throws what the system says. */
export interface CacheFile {
  /** Fills `bytes` as far as the file goes. @returns How many bytes there were. */
  readAt(bytes: Uint8Array, offset: number): number;
  /** Until the system has these bytes in memory, or has failed to: then a read tells why. */
  expect(offset: number, length: number): Promise<void>;
  writeAt(bytes: Uint8Array, offset: number): void;
  sync(): Promise<void>;
  close(): void;
}

export interface CacheFiles {
  /** Fine when there is one. */
  makeFolder(path: string): void;
  /** @returns Undefined when there is none. */
  open(path: string): CacheFile | undefined;
  /** Makes a file that only root can read. @throws When there is one. */
  create(path: string): CacheFile;
  /** Puts a file in the place of another and makes that last. */
  replace(from: string, to: string): Promise<void>;
  /** Fine when there is none. */
  remove(path: string): void;
  /** The files of a folder, and when each was written to for the last time. */
  list(folder: string): { name: string; writtenMs: number }[];
}

export const CACHE_FILES: CacheFiles = {
  makeFolder: (path) => void mkdirSync(path, { recursive: true, mode: 0o700 }),
  open(path) {
    try {
      return new DescriptorFile(openSync(path, O_RDWR | O_NOFOLLOW));
    } catch (error) {
      if (systemCodeOf(error) === "ENOENT") return undefined;
      throw error;
    }
  },
  create: (path) =>
    new DescriptorFile(openSync(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)),
  async replace(from, to) {
    renameSync(from, to);
    const folder = openSync(to.slice(0, to.lastIndexOf("/")), O_RDONLY);
    try {
      await fsyncLater(folder);
    } finally {
      closeSync(folder);
    }
  },
  remove: (path) => rmSync(path, { force: true }),
  list: (folder) =>
    readdirSync(folder).flatMap((name) => {
      // Another ibackup may have removed it.
      const found = statSync(`${folder}/${name}`, { throwIfNoEntry: false });
      return found ? [{ name, writtenMs: found.mtimeMs }] : [];
    }),
};

class DescriptorFile implements CacheFile {
  readonly #descriptor: number;
  #unread = new Uint8Array(0);

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  readAt(bytes: Uint8Array, offset: number): number {
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(this.#descriptor, bytes, done, bytes.length - done, offset + done);
      if (got === 0) break;
      done += got;
    }
    return done;
  }

  async expect(offset: number, length: number): Promise<void> {
    // Several may be read into it at one time: nobody looks at what it holds.
    if (this.#unread.length < length) this.#unread = new Uint8Array(length);
    await readLater(this.#descriptor, this.#unread, 0, length, offset).catch(() => {});
  }

  writeAt(bytes: Uint8Array, offset: number): void {
    let done = 0;
    while (done < bytes.length) {
      done += writeSync(this.#descriptor, bytes, done, bytes.length - done, offset + done);
    }
  }

  async sync(): Promise<void> {
    await fsyncLater(this.#descriptor);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}
