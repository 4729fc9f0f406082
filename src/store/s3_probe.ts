import { type ConditionalPut, runProbe } from "./probe.ts";
import type { S3BucketRequests } from "./s3_bucket_requests.ts";
import type { S3Calls } from "./s3_calls.ts";
import { isAnswer } from "./s3_errors.ts";
import type { S3Requests } from "./s3_requests.ts";
import type { S3Versions } from "./s3_versions.ts";
import type { StoreProbe } from "./store.ts";

export interface ProbedBucket {
  requests: S3Requests;
  bucket: S3BucketRequests;
  calls: S3Calls;
  versions: S3Versions;
  get(key: string): Promise<Uint8Array | undefined>;
}

/** Tries what a bucket honours. */
export class S3Probe {
  readonly #it: ProbedBucket;
  /** Of what was put here, in a bucket that keeps versions. */
  readonly #versionIds: (string | undefined)[] = [];

  constructor(bucket: ProbedBucket) {
    this.#it = bucket;
  }

  async run(): Promise<StoreProbe> {
    const { requests, calls, get } = this.#it;
    return await runProbe({
      put: async (key, body) => {
        const put = () => requests.put({ key, body, ifAbsent: false });
        this.#versionIds.push(await calls.try({ action: "write", key }, put));
      },
      get,
      putOverExisting: (key, body) => this.#putOverExisting(key, body),
      facts: ({ conditionalPut }) => this.#facts(conditionalPut),
      // In a bucket that keeps versions a plain delete would leave all of them behind.
      delete: async (key) => {
        for (const versionId of this.#versionIds) await this.#remove(key, versionId);
      },
    });
  }

  async #putOverExisting(key: string, body: Uint8Array): Promise<ConditionalPut> {
    return await this.#it.calls.try({ action: "write", key }, async () => {
      try {
        this.#versionIds.push(await this.#it.requests.put({ key, body, ifAbsent: true }));
        return "ignored";
      } catch (error) {
        if (isAnswer(error, 412)) return "honoured";
        if (isAnswer(error, 501)) return "unsupported";
        throw error;
      }
    });
  }

  /** How `S3Fence` will keep two writers apart here, and what else there is. */
  async #facts(
    conditionalPut: ConditionalPut,
  ): Promise<Pick<StoreProbe, "fence" | "versioning" | "objectLock">> {
    const { versions, calls, bucket } = this.#it;
    const kept = await versions.areKept();
    const objectLock = await calls.try({ action: "read", key: "" }, () => bucket.locksObjects());
    const fence = conditionalPut === "honoured" ? "condition" : "claims";
    const versioning = kept === "perhaps" ? undefined : kept;
    return { fence: versioning === true ? "versions" : fence, versioning, objectLock };
  }

  /** A version that a default retention protects is hidden at least. */
  async #remove(key: string, versionId: string | undefined): Promise<void> {
    const { requests, calls } = this.#it;
    await calls.find({ action: "remove", key }, async () => {
      try {
        return await requests.delete(key, versionId);
      } catch (error) {
        if (versionId === undefined || !isAnswer(error, 403)) throw error;
        return await requests.delete(key);
      }
    });
  }
}
