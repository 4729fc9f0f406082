import { Pace } from "./pace.ts";
import { retry } from "./retry.ts";
import type { RetryClock } from "./retry_clock.ts";
import { timeLimitMs } from "./s3_client.ts";
import { askedPauseMs, isAnswer, isTransient, s3Error } from "./s3_errors.ts";
import type { S3Location } from "./s3_url.ts";

const RETRY_PAUSES = { firstPauseMs: 200, pauseMsMax: 10_000 };
/** For all pauses of one call together. */
const PAUSES_MS_MAX = 30_000;

/** What a call is for: its bounds, and what is said when it fails. */
export interface Call {
  action: "read" | "write" | "list" | "remove" | "lock";
  key: string;
  /** How much there is to move, at most. */
  byteCount?: number;
  signal?: AbortSignal | undefined;
}

/** Makes the calls of one bucket, each with the one retry policy. */
export class S3Calls {
  /** For messages: `s3://bucket/prefix`. */
  readonly url: string;
  readonly #location: S3Location;
  readonly #clock: RetryClock;
  readonly #pace: Pace;

  constructor(location: S3Location, clock: RetryClock) {
    this.url = `s3://${location.bucket}/${location.prefix}`.replace(/\/$/, "");
    this.#location = location;
    this.#clock = clock;
    this.#pace = new Pace(clock);
  }

  place(key: string): string {
    return `${this.url}/${key}`;
  }

  /** Failures leave it as `IbackupError`. */
  async try<T>(call: Call, work: () => Promise<T>): Promise<T> {
    const { timeoutMs, attempts } = this.#location;
    // A server that hangs may do so for two attempts; a third one would try the user's patience.
    const totalMs = 2 * timeLimitMs(timeoutMs, call.byteCount ?? 0) + PAUSES_MS_MAX;
    const policy = { ...RETRY_PAUSES, attempts, totalMs };
    const { signal } = call;
    const shared = { clock: this.#clock, pace: this.#pace, isTransient, askedPauseMs };
    try {
      return await retry(work, { policy, signal, ...shared });
    } catch (error) {
      if (signal?.aborted && error === signal.reason) throw error;
      throw s3Error(`Cannot ${call.action} "${this.place(call.key)}"`, error);
    }
  }

  /** Like `try`; undefined when there is no such object. */
  async find<T>(call: Call, work: () => Promise<T>): Promise<T | undefined> {
    return await this.try<T | undefined>(call, async () => {
      try {
        return await work();
      } catch (error) {
        if (isAnswer(error, "NoSuchKey") || isAnswer(error, "NoSuchVersion")) return undefined;
        throw error;
      }
    });
  }
}
