import { createHash } from "node:crypto";
import { S3Client, type S3ClientConfig } from "@aws-sdk/client-s3";
import { BadAnswer } from "./s3_errors.ts";
import { isAws, type S3Location } from "./s3_url.ts";

/** A connection that cannot be made in this time never will be. */
const CONNECT_MS_MAX = 10_000;
/** Slower than this, an object counts as stuck: 1 Mbit/s. */
const SLOWEST_BYTES_PER_SECOND = 128 * 1024;
/** Servers other than AWS take any; the signature needs one. */
const REGION_ELSEWHERE = "us-east-1";

/**
 * The SDK's client for a location.
 *
 * One attempt each: the one retry policy is in `retry.ts`. Checksums of the newer kind only on
 * AWS: other servers refuse or ignore them, so a put carries Content-MD5, which all of them check.
 */
function createS3Client(location: S3Location): S3Client {
  const config: S3ClientConfig = {
    forcePathStyle: location.pathStyle,
    maxAttempts: 1,
    // Costs a round trip, and a wait of seconds where the runtime does not see the answer to it.
    expectContinueHeader: false,
    requestHandler: { connectionTimeout: Math.min(location.timeoutMs, CONNECT_MS_MAX) },
  };
  if (!isAws(location.endpoint)) {
    config.requestChecksumCalculation = "WHEN_REQUIRED";
    config.responseChecksumValidation = "WHEN_REQUIRED";
    config.region = location.region ?? REGION_ELSEWHERE;
  }
  if (location.region !== undefined) config.region = location.region;
  if (location.endpoint !== undefined) config.endpoint = location.endpoint;
  const client = new S3Client(config);
  if (!isAws(location.endpoint)) sendMd5(client);
  return client;
}

/** A body goes with Content-MD5, also where the SDK insists on one of its newer checksums. */
function sendMd5(client: S3Client): void {
  client.middlewareStack.add(
    (next) => (args) => {
      const { headers, body } = args.request as { headers: Record<string, string>; body: unknown };
      if (typeof body !== "string" && !(body instanceof Uint8Array)) return next(args);
      for (const name of Object.keys(headers)) {
        if (/^x-amz-(sdk-)?checksum-/.test(name)) delete headers[name];
      }
      headers["content-md5"] ??= createHash("md5").update(body).digest("base64");
      return next(args);
    },
    // After whatever else puts a checksum there, before the signature.
    { step: "build", priority: "low", name: "ibackupMd5" },
  );
}

/** Time limit of one attempt that moves `byteCount` bytes, in milliseconds. */
export function timeLimitMs(timeoutMs: number, byteCount: number): number {
  return timeoutMs + (byteCount / SLOWEST_BYTES_PER_SECOND) * 1000;
}

/**
 * Runs `work` with a signal that fires when the time is up or the caller gives up.
 * Throws BadAnswer for the one, the caller's reason for the other.
 */
export async function withTimeLimit<T>(
  limit: { milliseconds: number; signal?: AbortSignal | undefined },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { milliseconds, signal } = limit;
  const timer = new AbortController();
  const late = new BadAnswer(`no answer within ${Math.round(milliseconds)} ms`);
  const timeout = setTimeout(() => timer.abort(late), milliseconds);
  const either = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal]);
  try {
    return await Promise.race([work(either), rejectedOn(either)]);
  } catch (error) {
    // The SDK throws its own AbortError; the reason says which of the two it was.
    throw either.aborted ? either.reason : error;
  } finally {
    clearTimeout(timeout);
  }
}

function rejectedOn(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** A client, and what every request to one bucket has in common. */
export class S3Connection {
  readonly client: S3Client;
  readonly location: S3Location;

  constructor(location: S3Location) {
    this.location = location;
    this.client = createS3Client(location);
  }

  /** Within the time limit of a request that moves no bytes to speak of. */
  send<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return withTimeLimit({ milliseconds: this.limitMs(0) }, work);
  }

  limitMs(byteCount: number): number {
    return timeLimitMs(this.location.timeoutMs, byteCount);
  }

  target(key: string, versionId?: string): { Bucket: string; Key: string; VersionId?: string } {
    const target = { Bucket: this.location.bucket, Key: this.location.prefix + key };
    return versionId === undefined ? target : { ...target, VersionId: versionId };
  }
}
