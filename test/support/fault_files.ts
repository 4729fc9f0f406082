import type { CacheFile, CacheFiles } from "../../src/digests/files.ts";
import type { Random } from "./random.ts";

/** Memory that a file system of a test keeps; what was not synced is what a power cut may take. */
interface Stored {
  bytes: Uint8Array;
  /** What each write since the last sync put where, oldest first, and the bytes before the first. */
  unsynced: { offset: number; bytes: Uint8Array }[];
  durable: Uint8Array;
}

/** The files of a cache, in memory: with a call that fails, and power that is cut. */
export class FaultFiles implements CacheFiles {
  readonly #stored = new Map<string, Stored>();
  /** Calls so far that change something. */
  changes = 0;
  /** The change with this number fails; 1 is the first. */
  failAt = Number.POSITIVE_INFINITY;
  /** True: all later ones too, as if the process had been killed at that moment. */
  isLast = false;
  /** Of all writes, by path. */
  bytesWritten = 0;

  makeFolder(): void {}

  open(path: string): CacheFile | undefined {
    const stored = this.#stored.get(path);
    return stored && this.#handle(stored);
  }

  create(path: string): CacheFile {
    this.#change();
    if (this.#stored.has(path)) throw new Error(`EEXIST: ${path}`);
    const stored = { bytes: new Uint8Array(), unsynced: [], durable: new Uint8Array() };
    this.#stored.set(path, stored);
    return this.#handle(stored);
  }

  async replace(from: string, to: string): Promise<void> {
    this.#change();
    const stored = this.#stored.get(from);
    if (!stored) throw new Error(`ENOENT: ${from}`);
    this.#stored.set(to, stored);
    this.#stored.delete(from);
  }

  remove(path: string): void {
    if (!this.#stored.has(path)) return;
    this.#change();
    this.#stored.delete(path);
  }

  list(folder: string): { name: string; writtenMs: number }[] {
    const paths = this.paths.filter((path) => path.startsWith(`${folder}/`));
    const names = paths.map((path) => path.slice(folder.length + 1));
    return names.filter((name) => !name.includes("/")).map((name) => ({ name, writtenMs: 0 }));
  }

  get paths(): string[] {
    return [...this.#stored.keys()];
  }

  /** The content of a file, which a test may change or replace. */
  bytesOf(path: string): Uint8Array {
    const stored = this.#stored.get(path);
    if (!stored) throw new Error(`there is no ${path}`);
    return stored.bytes;
  }

  put(path: string, bytes: Uint8Array): void {
    this.#stored.set(path, { bytes, unsynced: [], durable: bytes.slice() });
  }

  /** Any of the writes that were not synced may be lost, whatever came before or after it. */
  cutPower(random: Random): void {
    for (const stored of this.#stored.values()) {
      let bytes = stored.durable;
      for (const write of stored.unsynced) if (random.below(2) === 0) bytes = patched(bytes, write);
      Object.assign(stored, { bytes, durable: bytes.slice(), unsynced: [] });
    }
  }

  #change(): void {
    this.changes += 1;
    const fails = this.isLast ? this.changes >= this.failAt : this.changes === this.failAt;
    if (fails) throw new Error(`ENOSPC: change ${this.changes}`);
  }

  #handle(stored: Stored): CacheFile {
    return {
      readAt(bytes, offset) {
        const part = stored.bytes.subarray(offset, offset + bytes.length);
        bytes.set(part);
        return part.length;
      },
      expect: async () => {},
      writeAt: (bytes, offset) => {
        this.#change();
        this.bytesWritten += bytes.length;
        const write = { offset, bytes: bytes.slice() };
        stored.unsynced.push(write);
        stored.bytes = patched(stored.bytes, write);
      },
      sync: async () => {
        this.#change();
        Object.assign(stored, { durable: stored.bytes.slice(), unsynced: [] });
      },
      close() {},
    };
  }
}

function patched(bytes: Uint8Array, write: { offset: number; bytes: Uint8Array }): Uint8Array {
  const longer = new Uint8Array(Math.max(bytes.length, write.offset + write.bytes.length));
  longer.set(bytes);
  longer.set(write.bytes, write.offset);
  return longer;
}
