import { type LockRule, rulesFor } from "../../src/core/store_settings.ts";
import { assertKey, assertPrefix, compareKeys } from "../../src/store/key.ts";
import type {
  ByteRange,
  EraseOptions,
  Extension,
  Keys,
  PutOptions,
  Store,
  StoredObject,
  StoreProbe,
} from "../../src/store/store.ts";
import { tooLarge } from "../../src/store/too_large.ts";

/** A store in a Map: the obviously right one, and fast. */
export class MemoryStore implements Store {
  readonly url = "memory://test";
  readonly objects = new Map<string, Uint8Array>();
  /** When each object was put; one that a test has set in `objects` counts as very old. */
  readonly storedAtMs = new Map<string, number>();
  /** When the retention of each object ends that was put with a lock; nothing minds it. */
  readonly lockedUntil = new Map<string, Date>();
  /** Keys of the calls of `extendRetention`. */
  readonly lockCalls: string[] = [];
  lock: LockRule | undefined;
  /** The clock of the store. */
  now: () => number = Date.now;

  /** Another one with the same objects; from now on each goes its own way. */
  copy(): MemoryStore {
    const copy = new MemoryStore();
    for (const [key, body] of this.objects) copy.objects.set(key, body);
    for (const [key, time] of this.storedAtMs) copy.storedAtMs.set(key, time);
    for (const [key, until] of this.lockedUntil) copy.lockedUntil.set(key, until);
    copy.now = this.now;
    copy.lock = this.lock;
    return copy;
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<void> {
    assertKey(key);
    options?.signal?.throwIfAborted();
    this.#keep(key, body);
  }

  #keep(key: string, body: Uint8Array): void {
    this.objects.set(key, body.slice());
    this.storedAtMs.set(key, this.now());
    const { lock } = rulesFor(key, { lock: this.lock }, new Date(this.now()));
    if (lock) this.lockedUntil.set(key, lock.until);
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    assertKey(key);
    if (this.objects.has(key)) return false;
    this.#keep(key, body);
    return true;
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    assertKey(key);
    const body = this.objects.get(key);
    if (body !== undefined && body.length > options.maxBytes) {
      throw tooLarge(`${this.url}/${key}`, body.length, options.maxBytes);
    }
    return body?.slice();
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    assertKey(key);
    return this.objects.get(key)?.slice(range.offset, range.offset + range.length);
  }

  async head(key: string): Promise<number | undefined> {
    assertKey(key);
    return this.objects.get(key)?.length;
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    for (const key of [...this.objects.keys()].sort(compareKeys)) {
      const body = this.objects.get(key);
      const storedAtMs = this.storedAtMs.get(key) ?? 0;
      if (key.startsWith(prefix) && body) yield { key, sizeBytes: body.length, storedAtMs };
    }
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    this.objects.delete(key);
    this.storedAtMs.delete(key);
  }

  async erase(keys: Keys, options: EraseOptions = {}): Promise<void> {
    for await (const key of keys) {
      options.signal?.throwIfAborted();
      await this.delete(key);
    }
  }

  async extendRetention(key: string, { least, until }: Extension): Promise<Date> {
    assertKey(key);
    const held = this.lockedUntil.get(key);
    this.lockCalls.push(key);
    if (held !== undefined && held >= least) return held;
    this.lockedUntil.set(key, until);
    return until;
  }

  async probe(): Promise<StoreProbe> {
    return {
      readable: true,
      writable: true,
      conditionalPut: "honoured",
      fence: "condition",
      versioning: false,
      objectLock: false,
      problems: [],
    };
  }

  async close(): Promise<void> {}
}
