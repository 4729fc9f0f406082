import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from "@aws-sdk/client-s3";
import { rulesFor, type StoreSettings } from "../core/store_settings.ts";
import { Bandwidth } from "./bandwidth.ts";
import { type S3Connection, withTimeLimit } from "./s3_client.ts";
import { BadAnswer } from "./s3_errors.ts";
import { checksumOf, rulesOf, signPayload } from "./s3_put.ts";
import { type ByteRange, PARALLEL_UPLOADS, type StoredObject } from "./store.ts";

/** What an object read says about itself. */
export interface Answer {
  bytes: Uint8Array;
  /** Size of the whole object. */
  sizeBytes: number;
}

export interface PutRequest {
  key: string;
  body: Uint8Array;
  ifAbsent: boolean;
  signal?: AbortSignal | undefined;
  /** SHA-256 of the body, in hexadecimal, where it is known already: the server checks it. */
  sha256?: string | undefined;
}

export interface ListPage {
  objects: StoredObject[];
  /** Undefined after the last page. */
  next: string | undefined;
}

/**
 * The requests that ibackup makes of a bucket: one attempt each, with a time limit, and with
 * answers held against what was asked. Throws the SDK's errors and BadAnswer.
 */
export class S3Requests {
  readonly #connection: S3Connection;
  readonly #settings: StoreSettings;
  readonly #bandwidth: Bandwidth | undefined;

  constructor(connection: S3Connection, settings: StoreSettings = {}) {
    this.#connection = connection;
    this.#settings = settings;
    const { uploadBytesPerSecond } = settings;
    if (uploadBytesPerSecond !== undefined) this.#bandwidth = new Bandwidth(uploadBytesPerSecond);
  }

  /** @returns The version that was made, in a bucket that keeps versions. */
  async put({ key, body, ifAbsent, signal, sha256 }: PutRequest): Promise<string | undefined> {
    const digest = sha256 ?? createHash("sha256").update(body).digest("hex");
    const command = new PutObjectCommand({
      ...this.#connection.target(key),
      ...checksumOf(this.#connection.location, body, digest),
      ...rulesOf(rulesFor(key, this.#settings, new Date())),
      Body: this.#bandwidth ? Readable.from(this.#bandwidth.pass(body, signal)) : body,
      ContentLength: body.length,
      ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
    });
    signPayload(command, digest);
    const limit = {
      milliseconds: this.#connection.limitMs(body.length) + this.#paceMs(body.length),
      signal,
    };
    const answer = await withTimeLimit(limit, (abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    return answer.VersionId;
  }

  /**
   * Reads a range, or without one the whole object.
   * @param bytesMax Sets the time limit. `refuse` is called with the size of a larger object.
   */
  async get(
    key: string,
    what: {
      range?: ByteRange;
      bytesMax: number;
      refuse?: (sizeBytes: number) => Error;
      versionId?: string | undefined;
    },
  ): Promise<Answer> {
    const { range, bytesMax, refuse } = what;
    const rangeHeader = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
    const command = new GetObjectCommand({
      ...this.#connection.target(key, what.versionId),
      ...(rangeHeader === undefined ? {} : { Range: rangeHeader }),
    });
    return await withTimeLimit(
      { milliseconds: this.#connection.limitMs(bytesMax) },
      async (abortSignal) => {
        const answer = await this.#connection.client.send(command, { abortSignal });
        const expected = expectedOf(answer, range);
        if (expected.length > bytesMax) {
          discard(answer);
          throw (
            refuse?.(expected.sizeBytes) ?? new BadAnswer("the answer is longer than was asked")
          );
        }
        abortSignal.addEventListener("abort", () => discard(answer), { once: true });
        return { bytes: await readBody(answer, expected.length), sizeBytes: expected.sizeBytes };
      },
    );
  }

  /** Size in bytes. */
  async head(key: string, versionId?: string): Promise<number> {
    const command = new HeadObjectCommand(this.#connection.target(key, versionId));
    const answer = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    if (answer.ContentLength === undefined) throw new BadAnswer("the answer has no size");
    return answer.ContentLength;
  }

  async delete(key: string, versionId?: string): Promise<void> {
    const command = new DeleteObjectCommand(this.#connection.target(key, versionId));
    await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
  }

  async list(prefix: string, from: string | undefined): Promise<ListPage> {
    const { bucket, prefix: start } = this.#connection.location;
    const command = new ListObjectsV2Command({
      Bucket: bucket,
      Prefix: start + prefix,
      ...(from === undefined ? {} : { ContinuationToken: from }),
    });
    const page = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    const objects = (page.Contents ?? []).map(({ Key = "", Size, LastModified }) => {
      if (!Key.startsWith(start + prefix) || Size === undefined || LastModified === undefined) {
        throw new BadAnswer("the list holds what was not asked, or does not say what was");
      }
      const storedAtMs = LastModified.getTime();
      return { key: Key.slice(start.length), sizeBytes: Size, storedAtMs };
    });
    if (page.IsTruncated === true && page.NextContinuationToken === undefined) {
      throw new BadAnswer("the list breaks off without a token to go on");
    }
    return { objects, next: page.IsTruncated === true ? page.NextContinuationToken : undefined };
  }

  /** How long the limit of bandwidth may make the uploads wait for one another. */
  #paceMs(byteCount: number): number {
    const rate = this.#bandwidth?.bytesPerSecond;
    const { parallelUploads = PARALLEL_UPLOADS } = this.#settings;
    return rate === undefined ? 0 : (byteCount * (parallelUploads + 1) * 1000) / rate;
  }
}

/** How many bytes must follow, and the size of the whole; throws when it is another range. */
function expectedOf(
  answer: GetObjectCommandOutput,
  range: ByteRange | undefined,
): { length: number; sizeBytes: number } {
  const length = answer.ContentLength;
  if (length === undefined) throw badAnswer(answer, "the answer has no length");
  if (range === undefined) return { length, sizeBytes: length };

  const [, first, last, total] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(answer.ContentRange ?? "") ?? [];
  if (total === undefined) {
    // Some servers answer with the whole when that is what the range covers.
    if (range.offset === 0 && length <= range.length) return { length, sizeBytes: length };
    throw badAnswer(answer, "the server does not honour the range that was asked");
  }
  const end = Math.min(range.offset + range.length, Number(total));
  const asAsked = Number(first) === range.offset && Number(last) === end - 1;
  if (!asAsked || length !== end - range.offset) {
    throw badAnswer(answer, `the answer is another range: ${answer.ContentRange}, ${length} bytes`);
  }
  return { length, sizeBytes: Number(total) };
}

function badAnswer(answer: GetObjectCommandOutput, why: string): BadAnswer {
  discard(answer);
  return new BadAnswer(why);
}

/** Reads straight into one buffer: the SDK's own way holds a large body twice. */
async function readBody(answer: GetObjectCommandOutput, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  let done = 0;
  const body = answer.Body as Readable | undefined;
  const reading = new Promise<void>((resolve, reject) => {
    body?.once("end", resolve).once("close", resolve).once("error", reject);
    body?.on("data", (part: Uint8Array) => {
      if (done + part.length <= length) bytes.set(part, done);
      done += part.length;
    });
  });
  if (body !== undefined) await reading;
  if (done !== length)
    throw new BadAnswer(`the answer breaks off after ${done} of ${length} bytes`);
  return bytes;
}

/** Ends the connection of an answer that nobody will read. */
function discard(answer: GetObjectCommandOutput): void {
  (answer.Body as Readable | undefined)?.destroy();
}
