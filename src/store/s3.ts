import { env } from "node:process";
import { IbackupError } from "../errors.ts";
import { assertKey, assertPrefix, compareKeys, isKey } from "./key.ts";
import { type ConditionalPut, runProbe } from "./probe.ts";
import { type RetryClock, systemClock } from "./retry.ts";
import { S3Calls } from "./s3_calls.ts";
import { S3Eraser } from "./s3_erase.ts";
import { isAnswer, isUncertain } from "./s3_errors.ts";
import { type Answer, type ListPage, S3Requests } from "./s3_requests.ts";
import { parseS3Url, type S3Location } from "./s3_url.ts";
import type { ByteRange, EraseOptions, Keys, Store, StoredObject, StoreProbe } from "./store.ts";
import { tooLarge } from "./too_large.ts";

/** The store of an `s3:` URL, as `parseS3Url` reads it. Nothing is sent yet. */
export function openS3Store(url: URL, clock: RetryClock = systemClock): Store {
  return new S3Store(parseS3Url(url, env), clock);
}

/**
 * A repository in a bucket, below a prefix.
 *
 * `putIfAbsent` always asks whether the object is there, and then puts on the condition that it
 * is not (`If-None-Match: *`). Where the server honours the condition this is atomic. Where it
 * ignores it (Ceph in versioned buckets) or refuses it (501), what remains is "look, then put":
 * two writers within one moment may both be told that they were first. `probe` tells which it is.
 */
class S3Store implements Store {
  readonly url: string;
  readonly #requests: S3Requests;
  readonly #calls: S3Calls;
  readonly #eraser: S3Eraser;
  /** Set once the server has refused a condition as unknown to it. */
  #conditionRefused = false;

  constructor(location: S3Location, clock: RetryClock) {
    this.#requests = new S3Requests(location);
    this.#calls = new S3Calls(location, clock);
    this.#eraser = new S3Eraser(this.#requests, this.#calls);
    this.url = this.#calls.url;
  }

  async put(key: string, body: Uint8Array, options?: { signal?: AbortSignal }): Promise<void> {
    assertKey(key);
    const signal = options?.signal;
    await this.#calls.try({ action: "write", key, byteCount: body.length, signal }, () =>
      this.#requests.put({ key, body, ifAbsent: false, signal }),
    );
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    if ((await this.head(key)) !== undefined) return false;
    let perhapsWritten = false;
    return await this.#calls.try({ action: "write", key, byteCount: body.length }, async () => {
      try {
        const verdict = await this.#putOnCondition(key, body);
        if (verdict === "written") return true;
      } catch (error) {
        perhapsWritten ||= isUncertain(error);
        throw error;
      }
      // It exists. An earlier attempt of ours, whose answer was lost, may have put it there.
      return perhapsWritten && (await this.#holds(key, body));
    });
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    assertKey(key);
    const { maxBytes } = options;
    const refuse = (sizeBytes: number) => tooLarge(this.#calls.place(key), sizeBytes, maxBytes);
    const answer = await this.#calls.find({ action: "read", key, byteCount: maxBytes }, () =>
      this.#requests.get(key, { bytesMax: maxBytes, refuse }),
    );
    return answer?.bytes;
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    assertKey(key);
    // HTTP has no way to ask for nothing.
    if (range.length === 0)
      return (await this.head(key)) === undefined ? undefined : new Uint8Array();
    const answer = await this.#calls.find({ action: "read", key, byteCount: range.length }, () =>
      this.#readRange(key, range),
    );
    return answer?.bytes;
  }

  async head(key: string): Promise<number | undefined> {
    assertKey(key);
    return await this.#calls.find({ action: "read", key }, async () => {
      try {
        return await this.#requests.head(key);
      } catch (error) {
        if (!isAnswer(error, 403) && !isAnswer(error, 404) && !isAnswer(error, 400)) throw error;
        // The answer to HEAD has no body, so it cannot tell "no such key" from "no such bucket",
        // nor a wrong secret from a missing right. The answer to GET can.
        return (await this.#readRange(key, { offset: 0, length: 1 })).sizeBytes;
      }
    });
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    assertPrefix(prefix);
    let token: string | undefined;
    let previous = "";
    do {
      const page: ListPage = await this.#calls.try({ action: "list", key: prefix }, () =>
        this.#requests.list(prefix, token),
      );
      // Names that are no keys are not ours: folder markers of other tools, for example.
      for (const object of page.objects.filter(({ key }) => isKey(key))) {
        if (compareKeys(previous, object.key) >= 0)
          throw outOfOrder(this.#calls.place(prefix), object.key);
        previous = object.key;
        yield object;
      }
      token = page.next;
    } while (token !== undefined);
  }

  async delete(key: string): Promise<void> {
    assertKey(key);
    await this.#calls.find({ action: "remove", key }, () => this.#requests.delete(key));
  }

  async erase(keys: Keys, options: EraseOptions = {}): Promise<void> {
    await this.#eraser.erase(keys, options);
  }

  async probe(): Promise<StoreProbe> {
    const versions: (string | undefined)[] = [];
    return await runProbe({
      put: async (key, body) => {
        const put = () => this.#requests.put({ key, body, ifAbsent: false });
        versions.push(await this.#calls.try({ action: "write", key }, put));
      },
      get: (key) => this.get(key, { maxBytes: 4096 }),
      putOverExisting: async (key, body) =>
        await this.#calls.try({ action: "write", key }, () =>
          this.#overwriteOnCondition(key, body, versions),
        ),
      // In a bucket that keeps versions a plain delete would leave all of them behind.
      delete: async (key) => {
        for (const version of versions) {
          const remove = () => this.#requests.delete(key, version);
          await this.#calls.find({ action: "remove", key }, remove);
        }
      },
    });
  }

  async close(): Promise<void> {
    this.#requests.close();
  }

  async #putOnCondition(key: string, body: Uint8Array): Promise<"written" | "exists"> {
    try {
      await this.#requests.put({ key, body, ifAbsent: !this.#conditionRefused });
      return "written";
    } catch (error) {
      if (isAnswer(error, 412)) return "exists";
      if (!isAnswer(error, 501) || this.#conditionRefused) throw error;
    }
    this.#conditionRefused = true;
    await this.#requests.put({ key, body, ifAbsent: false });
    return "written";
  }

  async #overwriteOnCondition(
    key: string,
    body: Uint8Array,
    versions: (string | undefined)[],
  ): Promise<ConditionalPut> {
    try {
      versions.push(await this.#requests.put({ key, body, ifAbsent: true }));
      return "ignored";
    } catch (error) {
      if (isAnswer(error, 412)) return "honoured";
      if (isAnswer(error, 501)) return "unsupported";
      throw error;
    }
  }

  async #holds(key: string, body: Uint8Array): Promise<boolean> {
    const { bytes, sizeBytes } = await this.#readRange(key, { offset: 0, length: body.length + 1 });
    return sizeBytes === body.length && bytes.every((byte, index) => byte === body[index]);
  }

  async #readRange(key: string, range: ByteRange): Promise<Answer> {
    try {
      return await this.#requests.get(key, { range, bytesMax: range.length });
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
