import type { Readable } from "node:stream";
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadObjectCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import { createS3Client, timeLimitMs, withTimeLimit } from "./s3_client.ts";
import { BadAnswer, isTransient } from "./s3_errors.ts";
import type { S3Location } from "./s3_url.ts";
import type { ByteRange, StoredObject } from "./store.ts";

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
}

export interface ListPage {
  objects: StoredObject[];
  /** Undefined after the last page. */
  next: string | undefined;
}

/** What is to be removed: the object, or one version of it. */
export interface Target {
  key: string;
  versionId?: string | undefined;
}

export interface ObjectVersion extends Required<Target> {
  versionId: string;
  /** It holds nothing, and hides what is older. */
  isMarker: boolean;
}

export interface VersionPage {
  /** Ascending by key; those of a key, newest first, but markers after the others. */
  versions: ObjectVersion[];
  /** Where the next page begins; undefined after the last. */
  next: { key: string; versionId: string | undefined } | undefined;
}

export interface ObjectLock {
  /** For people. */
  mode: string;
  until: Date | undefined;
}

/** Something that the server would not remove. */
export interface Refusal extends Target {
  /** As the SDK would have thrown it. */
  error: unknown;
}

/**
 * The requests that ibackup makes of a bucket: one attempt each, with a time limit, and with
 * answers held against what was asked. Throws the SDK's errors and BadAnswer.
 */
export class S3Requests {
  readonly #client: S3Client;
  readonly #location: S3Location;

  constructor(location: S3Location) {
    this.#location = location;
    this.#client = createS3Client(location);
  }

  /** @returns The version that was made, in a bucket that keeps versions. */
  async put({ key, body, ifAbsent, signal }: PutRequest): Promise<string | undefined> {
    const command = new PutObjectCommand({
      ...this.#target(key),
      Body: body,
      ContentLength: body.length,
      ...(ifAbsent ? { IfNoneMatch: "*" } : {}),
    });
    const limit = { milliseconds: this.#limitMs(body.length), signal };
    const answer = await withTimeLimit(limit, (abortSignal) =>
      this.#client.send(command, { abortSignal }),
    );
    return answer.VersionId;
  }

  /**
   * Reads a range, or without one the whole object.
   * @param bytesMax Sets the time limit. `refuse` is called with the size of a larger object.
   */
  async get(
    key: string,
    what: { range?: ByteRange; bytesMax: number; refuse?: (sizeBytes: number) => Error },
  ): Promise<Answer> {
    const { range, bytesMax, refuse } = what;
    const rangeHeader = range && `bytes=${range.offset}-${range.offset + range.length - 1}`;
    const command = new GetObjectCommand({
      ...this.#target(key),
      ...(rangeHeader === undefined ? {} : { Range: rangeHeader }),
    });
    return await withTimeLimit({ milliseconds: this.#limitMs(bytesMax) }, async (abortSignal) => {
      const answer = await this.#client.send(command, { abortSignal });
      const expected = expectedOf(answer, range);
      if (expected.length > bytesMax) {
        discard(answer);
        throw refuse?.(expected.sizeBytes) ?? new BadAnswer("the answer is longer than was asked");
      }
      abortSignal.addEventListener("abort", () => discard(answer), { once: true });
      return { bytes: await readBody(answer, expected.length), sizeBytes: expected.sizeBytes };
    });
  }

  /** Size in bytes. */
  async head(key: string): Promise<number> {
    const command = new HeadObjectCommand(this.#target(key));
    const answer = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
    if (answer.ContentLength === undefined) throw new BadAnswer("the answer has no size");
    return answer.ContentLength;
  }

  async delete(key: string, versionId?: string): Promise<void> {
    const version = versionId === undefined ? {} : { VersionId: versionId };
    const command = new DeleteObjectCommand({ ...this.#target(key), ...version });
    await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
  }

  async list(prefix: string, from: string | undefined): Promise<ListPage> {
    const { bucket, prefix: start } = this.#location;
    const command = new ListObjectsV2Command({
      Bucket: bucket,
      Prefix: start + prefix,
      ...(from === undefined ? {} : { ContinuationToken: from }),
    });
    const page = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
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

  /** Whether the bucket keeps versions, or has kept some. */
  async keepsVersions(): Promise<boolean> {
    const command = new GetBucketVersioningCommand({ Bucket: this.#location.bucket });
    const answer = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
    return answer.Status !== undefined;
  }

  async listVersions(prefix: string, from: VersionPage["next"]): Promise<VersionPage> {
    const { bucket, prefix: start } = this.#location;
    const command = new ListObjectVersionsCommand({
      Bucket: bucket,
      Prefix: start + prefix,
      ...(from && { KeyMarker: start + from.key, VersionIdMarker: from.versionId }),
    });
    const page = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
    const read = ({ Key = "", VersionId = "" }, isMarker: boolean): ObjectVersion => {
      if (!Key.startsWith(start + prefix) || VersionId === "") {
        throw new BadAnswer("the list of versions holds what was not asked");
      }
      return { key: Key.slice(start.length), versionId: VersionId, isMarker };
    };
    const versions = [
      ...(page.Versions ?? []).map((one) => read(one, false)),
      ...(page.DeleteMarkers ?? []).map((one) => read(one, true)),
    ];
    if (page.IsTruncated !== true) return { versions, next: undefined };
    if (page.NextKeyMarker === undefined) {
      throw new BadAnswer("the list of versions breaks off without saying where to go on");
    }
    const key = page.NextKeyMarker.slice(start.length);
    return { versions, next: { key, versionId: page.NextVersionIdMarker } };
  }

  /** Removes up to 1,000. @returns What was refused for good. */
  async deleteMany(targets: readonly Target[]): Promise<Refusal[]> {
    const { bucket, prefix: start } = this.#location;
    const command = new DeleteObjectsCommand({
      Bucket: bucket,
      Delete: {
        Quiet: true,
        Objects: targets.map(({ key, versionId }) => ({ Key: start + key, VersionId: versionId })),
      },
    });
    const answer = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
    const refusals = (answer.Errors ?? []).map(({ Key = "", VersionId, Code = "", Message }) => {
      const error = Object.assign(new Error(Message ?? Code), {
        name: Code,
        $metadata: { httpStatusCode: Code === "InternalError" || Code === "SlowDown" ? 503 : 403 },
      });
      return { key: Key.slice(start.length), versionId: VersionId, error };
    });
    const lasting = refusals.filter(({ error }) => !/^NoSuch(Key|Version)$/.test(error.name));
    const passing = lasting.find(({ error }) => isTransient(error));
    if (passing) throw passing.error;
    return lasting;
  }

  /** What keeps an object from being removed, if anything does. */
  async lockOf(key: string, versionId?: string): Promise<ObjectLock | undefined> {
    const version = versionId === undefined ? {} : { VersionId: versionId };
    const command = new HeadObjectCommand({ ...this.#target(key), ...version });
    const answer = await this.#send((abortSignal) => this.#client.send(command, { abortSignal }));
    const until = answer.ObjectLockRetainUntilDate;
    if (answer.ObjectLockLegalHoldStatus === "ON") return { mode: "legal hold", until: undefined };
    if (until === undefined) return undefined;
    return { mode: `${answer.ObjectLockMode?.toLowerCase()} retention`, until };
  }

  close(): void {
    this.#client.destroy();
  }

  #send<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withTimeLimit({ milliseconds: this.#limitMs(0) }, work);
  }

  #limitMs(byteCount: number): number {
    return timeLimitMs(this.#location.timeoutMs, byteCount);
  }

  #target(key: string): { Bucket: string; Key: string } {
    return { Bucket: this.#location.bucket, Key: this.#location.prefix + key };
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
