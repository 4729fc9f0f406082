import { forEachConcurrently } from "../core/pool.ts";
import { IbackupError } from "../errors.ts";
import { assertKey } from "./key.ts";
import type { ObjectLock, Refusal, S3BucketRequests, Target } from "./s3_bucket_requests.ts";
import type { S3Calls } from "./s3_calls.ts";
import { isAnswer, isRefusal, s3Error } from "./s3_errors.ts";
import type { S3Requests } from "./s3_requests.ts";
import type { S3Versions } from "./s3_versions.ts";
import type { EraseOptions, Keys, LockedObject } from "./store.ts";

/** As many as S3 takes in one request. */
const KEYS_PER_REQUEST = 1000;
const REQUESTS_IN_FLIGHT = 8;

/** Removes objects for good. */
export class S3Eraser {
  readonly #requests: S3Requests;
  readonly #bucket: S3BucketRequests;
  readonly #calls: S3Calls;
  readonly #versions: S3Versions;
  /** Set once the server has refused to remove many with one request. */
  #oneByOne = false;

  constructor(parts: {
    requests: S3Requests;
    bucket: S3BucketRequests;
    calls: S3Calls;
    versions: S3Versions;
  }) {
    this.#requests = parts.requests;
    this.#bucket = parts.bucket;
    this.#calls = parts.calls;
    this.#versions = parts.versions;
  }

  async erase(keys: Keys, options: EraseOptions): Promise<void> {
    let first: LockedObject | undefined;
    const onLocked = (locked: LockedObject): void => {
      first ??= locked;
      options.onLocked?.(locked);
    };
    for await (const batch of batchesOf(keys)) {
      for (const key of batch) assertKey(key);
      options.signal?.throwIfAborted();
      await this.#eraseBatch(batch, onLocked);
    }
    if (first !== undefined && options.onLocked === undefined) throw first.error;
  }

  async #eraseBatch(keys: readonly string[], tell: (locked: LockedObject) => void): Promise<void> {
    const { versions, markers } = await this.#targetsOf(keys);
    const locked = new Set<string>();
    for (const refusal of await this.#remove(versions)) {
      if (locked.has(refusal.key)) continue;
      locked.add(refusal.key);
      tell(await this.#explain(refusal));
    }
    // What a marker hides would appear again where it could not be removed.
    for (const refusal of await this.#remove(markers.filter(({ key }) => !locked.has(key)))) {
      throw this.#error(refusal);
    }
  }

  async #targetsOf(keys: readonly string[]): Promise<{ versions: Target[]; markers: Target[] }> {
    if ((await this.#versions.areKept()) === false) {
      return { versions: keys.map((key) => ({ key })), markers: [] };
    }
    const versions: Target[] = [];
    const markers: Target[] = [];
    await forEachConcurrently(keys, REQUESTS_IN_FLIGHT, async (key) => {
      const found = await this.#versions.of(key);
      if (found === undefined) versions.push({ key });
      for (const version of found ?? []) (version.isMarker ? markers : versions).push(version);
    });
    return { versions, markers };
  }

  async #remove(targets: readonly Target[]): Promise<Refusal[]> {
    const refusals: Refusal[] = [];
    for await (const batch of batchesOf(targets)) {
      refusals.push(...(this.#oneByOne ? [] : await this.#removeMany(batch)));
      if (this.#oneByOne) {
        await forEachConcurrently(batch, REQUESTS_IN_FLIGHT, async (target) => {
          const refusal = await this.#removeOne(target);
          if (refusal) refusals.push(refusal);
        });
      }
    }
    return refusals;
  }

  async #removeMany(batch: readonly Target[]): Promise<Refusal[]> {
    const key = batch[0]?.key ?? "";
    return await this.#calls.try({ action: "remove", key }, async () => {
      try {
        return await this.#bucket.deleteMany(batch);
      } catch (error) {
        // Some servers do not know this request, want a checksum that others refuse, or need a right
        // to the whole bucket for it.
        if (!isRefusal(error)) throw error;
        this.#oneByOne = true;
        return [];
      }
    });
  }

  async #removeOne(target: Target): Promise<Refusal | undefined> {
    const { key } = target;
    return await this.#calls.find({ action: "remove", key }, async () => {
      try {
        await this.#requests.delete(key, target.versionId);
        return undefined;
      } catch (error) {
        if (!isAnswer(error, 403)) throw error;
        return { ...target, error };
      }
    });
  }

  /** A retention that has not ended, or else a right that is missing: thrown, for it ends all. */
  async #explain(refusal: Refusal): Promise<LockedObject> {
    const { key, versionId } = refusal;
    const lock = await this.#calls
      .find({ action: "read", key }, () => this.#bucket.lockOf(key, versionId))
      .catch((error: unknown) => {
        // Whoever may not read cannot look; what the removal said is worth more.
        if (error instanceof IbackupError && error.code === "STORE_DENIED") return undefined;
        throw error;
      });
    if (lock === undefined) throw this.#error(refusal);
    return { key, until: lock.until, error: lockedObject(this.#calls.place(key), lock) };
  }

  #error({ key, error }: Refusal): unknown {
    return s3Error(`Cannot remove "${this.#calls.place(key)}"`, error);
  }
}

function lockedObject(place: string, lock: ObjectLock): IbackupError {
  const end = lock.until === undefined ? "" : ` until ${lock.until.toISOString()}`;
  return new IbackupError("LOCKED_OBJECT", `Cannot remove "${place}"`, {
    why: `the bucket keeps it (${lock.mode})${end}`,
    fix: "run the command again after that time",
  });
}

async function* batchesOf<T>(items: Iterable<T> | AsyncIterable<T>): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const item of items) {
    batch.push(item);
    if (batch.length < KEYS_PER_REQUEST) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
