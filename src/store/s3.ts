import { env } from "node:process";
import type { LockMode, LockRule, StoreSettings } from "../core/store_settings.ts";
import { IbackupError } from "../errors.ts";
import { assertKey, assertPrefix, compareKeys, isKey } from "./key.ts";
import { type RetryClock, systemClock } from "./retry_clock.ts";
import { S3BucketRequests } from "./s3_bucket_requests.ts";
import { S3Calls } from "./s3_calls.ts";
import { S3Connection } from "./s3_client.ts";
import { S3Eraser } from "./s3_erase.ts";
import { isAnswer } from "./s3_errors.ts";
import { S3Fence } from "./s3_fence.ts";
import { S3Probe } from "./s3_probe.ts";
import { type Answer, type ListPage, S3Requests } from "./s3_requests.ts";
import { isAws, parseS3Url, type S3Location } from "./s3_url.ts";
import { firstVersion, type KeyVersions, objectOf, S3Versions } from "./s3_versions.ts";
import {
  type ByteRange,
  type EraseOptions,
  type Extension,
  type Keys,
  PARALLEL_UPLOADS,
  type PutOptions,
  type Store,
  type StoredObject,
  type StoreProbe,
} from "./store.ts";
import { tooLarge } from "./too_large.ts";
import { Turnstile } from "./turnstile.ts";

/** The store of an `s3:` URL, as `parseS3Url` reads it. Nothing is sent yet. */
export function openS3Store(
  url: URL,
  settings: StoreSettings = {},
  clock: RetryClock = systemClock,
): Store {
  return new S3Store(parseS3Url(url, env), settings, clock);
}

/** A repository in a bucket, below a prefix. See `S3Fence` for how it lets one of several writers win. */
class S3Store implements Store {
  readonly url: string;
  readonly parallelUploads: number;
  readonly lock: LockRule | undefined;
  readonly #connection: S3Connection;
  readonly #requests: S3Requests;
  readonly #bucket: S3BucketRequests;
  readonly #calls: S3Calls;
  readonly #versions: S3Versions;
  readonly #fence: S3Fence;
  readonly #eraser: S3Eraser;
  readonly #uploads: Turnstile;
  /** Where a plain read would give another version than the one that counts; found by lists. */
  readonly #firsts = new Map<string, string>();

  constructor(location: S3Location, settings: StoreSettings, clock: RetryClock) {
    this.#connection = new S3Connection(location);
    this.#requests = new S3Requests(this.#connection, settings);
    this.#bucket = new S3BucketRequests(this.#connection);
    this.#calls = new S3Calls(location, clock);
    this.url = this.#calls.url;
    this.#versions = new S3Versions(this.#bucket, this.#calls);
    const parts = { requests: this.#requests, calls: this.#calls, versions: this.#versions };
    this.#fence = new S3Fence({
      ...parts,
      clock,
      reads: {
        head: (key) => this.#sizeOf(key, undefined),
        list: (prefix) => this.list(prefix),
        holds: (key, body, versionId) => this.#holds(key, body, versionId),
        noteFirst: (key, versionId) => void this.#firsts.set(key, versionId),
      },
      honoursCondition: isAws(location.endpoint) ? true : undefined,
    });
    this.#eraser = new S3Eraser({ ...parts, bucket: this.#bucket });
    this.lock = settings.lock;
    this.parallelUploads = settings.parallelUploads ?? PARALLEL_UPLOADS;
    this.#uploads = new Turnstile(this.parallelUploads);
  }

  async put(key: string, body: Uint8Array, options: PutOptions = {}): Promise<void> {
    assertKey(key);
    const { signal, sha256 } = options;
    await this.#uploads.pass(() =>
      this.#calls.try({ action: "write", key, byteCount: body.length, signal }, () =>
        this.#requests.put({ key, body, ifAbsent: false, signal, sha256 }),
      ),
    );
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    assertKey(key);
    return await this.#fence.putIfAbsent(key, body);
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    assertKey(key);
    const { maxBytes } = options;
    const refuse = (sizeBytes: number) => tooLarge(this.#calls.place(key), sizeBytes, maxBytes);
    const answer = await this.#calls.find({ action: "read", key, byteCount: maxBytes }, () =>
      this.#requests.get(key, { bytesMax: maxBytes, refuse, versionId: this.#versionOf(key) }),
    );
    return answer?.bytes;
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    assertKey(key);
    // HTTP has no way to ask for nothing.
    if (range.length === 0)
      return (await this.head(key)) === undefined ? undefined : new Uint8Array();
    const answer = await this.#calls.find({ action: "read", key, byteCount: range.length }, () =>
      this.#readRange(key, range, this.#versionOf(key)),
    );
    return answer?.bytes;
  }

  async head(key: string): Promise<number | undefined> {
    assertKey(key);
    return await this.#sizeOf(key, this.#versionOf(key));
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    let previous = "";
    for await (const object of await this.#listed(prefix)) {
      // Names that are no keys are not ours: folder markers of other tools, for example.
      if (!isKey(object.key)) continue;
      if (compareKeys(previous, object.key) >= 0) {
        throw outOfOrder(this.#calls.place(prefix), object.key);
      }
      previous = object.key;
      yield object;
    }
  }

  async #listed(prefix: string): Promise<AsyncIterable<StoredObject>> {
    const isVersioned = (await this.#versions.areKept()) === true;
    const groups = isVersioned ? await this.#versions.list(prefix) : undefined;
    return groups ? this.#listFirsts(groups) : this.#listPlain(prefix);
  }

  async *#listPlain(prefix: string): AsyncGenerator<StoredObject> {
    let token: string | undefined;
    do {
      const page: ListPage = await this.#calls.try({ action: "list", key: prefix }, () =>
        this.#requests.list(prefix, token),
      );
      yield* page.objects;
      token = page.next;
    } while (token !== undefined);
  }

  async *#listFirsts(groups: AsyncIterable<KeyVersions>): AsyncGenerator<StoredObject> {
    for await (const group of groups) {
      const object = objectOf(group);
      const first = firstVersion(group.versions);
      if (first === undefined || first.isLatest) this.#firsts.delete(group.key);
      else this.#firsts.set(group.key, first.versionId);
      if (object) yield object;
    }
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    // The only version leaves nothing behind when it goes; a marker would stay with it.
    const own = this.#fence.versionIds.get(key);
    this.#fence.versionIds.delete(key);
    this.#firsts.delete(key);
    await this.#calls.find({ action: "remove", key }, async () => {
      try {
        return await this.#requests.delete(key, own);
      } catch (error) {
        if (own === undefined || !isAnswer(error, 403)) throw error;
        return await this.#requests.delete(key);
      }
    });
  }

  async erase(keys: Keys, options: EraseOptions = {}): Promise<void> {
    await this.#eraser.erase(keys, options);
  }

  async extendRetention(key: string, { mode, least, until }: Extension): Promise<Date> {
    assertKey(key);
    return await this.#calls.try({ action: "lock", key }, async () => {
      const held = await this.#bucket.lockOf(key, this.#versionOf(key));
      if (held?.until !== undefined && held.until >= least) return held.until;
      await this.#retain(key, { mode, until });
      return until;
    });
  }

  async probe(): Promise<StoreProbe> {
    const parts = { requests: this.#requests, bucket: this.#bucket, calls: this.#calls };
    const get = (key: string) => this.get(key, { maxBytes: 4096 });
    return await new S3Probe({ ...parts, versions: this.#versions, get }).run();
  }

  async close(): Promise<void> {
    this.#connection.client.destroy();
  }

  async #retain(key: string, lock: { mode: LockMode; until: Date }): Promise<void> {
    try {
      await this.#bucket.retain(key, lock, this.#versionOf(key));
    } catch (error) {
      if (!isAnswer(error, 400) && !isAnswer(error, 501)) throw error;
      throw new IbackupError("UNSUPPORTED", `Cannot lock "${this.#calls.place(key)}"`, {
        why: "the bucket locks no objects",
        fix: "make a bucket with object lock: most servers cannot add it later",
      });
    }
  }

  /** The version that counts, where it is known; undefined: the newest will do. */
  #versionOf(key: string): string | undefined {
    return this.#firsts.get(key) ?? this.#fence.versionIds.get(key);
  }

  /** @param versionId Undefined: the newest. */
  async #sizeOf(key: string, versionId: string | undefined): Promise<number | undefined> {
    return await this.#calls.find({ action: "read", key }, async () => {
      try {
        return await this.#requests.head(key, versionId);
      } catch (error) {
        if (!isAnswer(error, 403) && !isAnswer(error, 404) && !isAnswer(error, 400)) throw error;
        // The answer to HEAD has no body, so it cannot tell "no such key" from "no such bucket",
        // nor a wrong secret from a missing right. The answer to GET can.
        return (await this.#readRange(key, { offset: 0, length: 1 }, versionId)).sizeBytes;
      }
    });
  }

  async #holds(key: string, body: Uint8Array, versionId?: string): Promise<boolean> {
    const range = { offset: 0, length: body.length + 1 };
    const answer = await this.#calls.find({ action: "read", key }, () =>
      this.#readRange(key, range, versionId ?? this.#versionOf(key)),
    );
    if (answer?.sizeBytes !== body.length) return false;
    return answer.bytes.every((byte, index) => byte === body[index]);
  }

  async #readRange(key: string, range: ByteRange, versionId: string | undefined): Promise<Answer> {
    try {
      return await this.#requests.get(key, { range, bytesMax: range.length, versionId });
    } catch (error) {
      // The object is there, and ends before the range begins.
      if (isAnswer(error, 416)) return { bytes: new Uint8Array(), sizeBytes: 0 };
      throw error;
    }
  }
}

function outOfOrder(place: string, key: string): IbackupError {
  return new IbackupError("IO", `Cannot list "${place}"`, {
    why: `the server lists "${key}" out of order`,
    fix: "use a bucket whose lists are in ascending order of key (directory buckets of AWS are not)",
  });
}
