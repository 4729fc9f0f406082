import type { LockMode, LockRule } from "../core/store_settings.ts";
import type { IbackupError } from "../errors.ts";

/**
 * Object storage, as little of it as ibackup needs. Keys are relative, `/`-separated,
 * `[A-Za-z0-9._-]` between the slashes, and never start with a dot or a slash.
 *
 * Every method retries what is worth retrying (one policy, here and nowhere above) and throws an
 * `IbackupError` that says what failed: STORE_UNREACHABLE, STORE_DENIED, STORE_FULL, LOCKED_OBJECT, IO.
 */
export interface Store {
  /** For messages: `file:///backup` or `s3://bucket/prefix`. Holds no secret. */
  readonly url: string;

  /** How many objects may be on their way at one time. Default `PARALLEL_UPLOADS`. */
  readonly parallelUploads?: number | undefined;

  /** How objects are locked that are put here. */
  readonly lock?: LockRule | undefined;

  /**
   * Stores a whole object, durably before it resolves; a reader sees all of it or nothing.
   * Objects are written once: putting the same key again must carry the same bytes.
   */
  put(key: string, body: Uint8Array, options?: PutOptions): Promise<void>;

  /**
   * Like `put`, but only where no object of that key exists.
   * @returns False when one exists already; then nothing was changed.
   */
  putIfAbsent(key: string, body: Uint8Array): Promise<boolean>;

  /** The whole object, or undefined when there is none. Refuses more than `maxBytes`. */
  get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined>;

  /**
   * Bytes `[offset, offset + length)`, or undefined when there is no such object.
   * Fewer bytes than asked are returned only where the object ends early.
   */
  getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined>;

  /** Size in bytes, or undefined when there is no such object. */
  head(key: string): Promise<number | undefined>;

  /** All objects whose key starts with `prefix`, in ascending order of key. */
  list(prefix: string): AsyncIterable<StoredObject>;

  /**
   * Removes an object; absent is fine. A store that keeps versions only hides it: for what must go
   * for good there is `erase`.
   */
  delete(key: string): Promise<void>;

  /**
   * Removes objects with every version that the store keeps of them, many with each request, in no
   * particular order; absent is fine. Resolves when they stay removed whatever happens. An object
   * whose retention has not ended stays as it is, and the others go all the same.
   *
   * @throws IbackupError LOCKED_OBJECT for the first of those, at the end (see `onLocked`).
   */
  erase(keys: Keys, options?: EraseOptions): Promise<void>;

  /**
   * Keeps an object from being removed; never shortens what it has.
   * @returns When its retention ends now.
   * @throws IbackupError UNSUPPORTED where the store locks no objects.
   */
  extendRetention(key: string, extension: Extension): Promise<Date>;

  /** What this store honours here, found by trying it. For `doctor`. Leaves nothing behind. */
  probe(): Promise<StoreProbe>;

  close(): Promise<void>;
}

/** Objects on their way at one time, where nobody asks for another number. */
export const PARALLEL_UPLOADS = 2;

export interface PutOptions {
  signal?: AbortSignal | undefined;
  /**
   * SHA-256 of the body in hexadecimal, from when its bytes were made: the store refuses a body that
   * has changed since.
   */
  sha256?: string | undefined;
}

export interface ByteRange {
  offset: number;
  length: number;
}

export interface StoredObject {
  key: string;
  sizeBytes: number;
  /**
   * When it was put last, in milliseconds since 1970 by the clock of the store. To be held only
   * against other times of the same store.
   */
  storedAtMs: number;
}

export type Keys = Iterable<string> | AsyncIterable<string>;

export interface EraseOptions {
  signal?: AbortSignal | undefined;
  /** Told of each object that its retention protects, with LOCKED_OBJECT. */
  onLocked?: ((locked: LockedObject) => void) | undefined;
}

export interface Extension {
  mode: LockMode;
  /** An object whose retention ends then or later stays as it is. */
  least: Date;
  /** When that of any other ends from now on. */
  until: Date;
}

export interface LockedObject {
  key: string;
  /** Undefined where the store does not say: no right to ask, or a legal hold. */
  until: Date | undefined;
  error: IbackupError;
}

export interface StoreProbe {
  /** A folder that is not there yet: writing makes it. */
  isMissing?: true;
  readable: boolean;
  writable: boolean;
  /** "ignored": the store says yes and overwrites, as some do in versioned buckets. */
  conditionalPut: "honoured" | "ignored" | "unsupported";
  /**
   * How two writers are kept apart: by the condition, by the order of versions, by claims, which
   * rely on the store's clock and lists, or not for certain.
   */
  fence: "condition" | "versions" | "claims" | "none";
  /** Undefined where it does not tell. */
  versioning: boolean | undefined;
  objectLock: boolean | undefined;
  /** One sentence for each thing that is wrong. */
  problems: string[];
}
