import {
  DeleteObjectsCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutObjectRetentionCommand,
} from "@aws-sdk/client-s3";
import type { ObjectRules } from "../core/store_settings.ts";
import type { S3Connection } from "./s3_client.ts";
import { BadAnswer, isAnswer, isRefusal, isTransient } from "./s3_errors.ts";
import { lockModeOf } from "./s3_put.ts";

interface OneVersion {
  Key?: string | undefined;
  VersionId?: string | undefined;
  LastModified?: Date | undefined;
  IsLatest?: boolean | undefined;
  Size?: number | undefined;
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
  /** What a plain read gives. */
  isLatest: boolean;
  storedAtMs: number;
  sizeBytes: number;
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

/** The requests about versions, locks and many objects: some servers lack them. */
export class S3BucketRequests {
  readonly #connection: S3Connection;

  constructor(connection: S3Connection) {
    this.#connection = connection;
  }

  /** Whether the bucket keeps versions, or has kept some. */
  async keepsVersions(): Promise<boolean> {
    const command = new GetBucketVersioningCommand({ Bucket: this.#connection.location.bucket });
    const answer = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    return answer.Status !== undefined;
  }

  async listVersions(prefix: string, from: VersionPage["next"]): Promise<VersionPage> {
    const { bucket, prefix: start } = this.#connection.location;
    const command = new ListObjectVersionsCommand({
      Bucket: bucket,
      Prefix: start + prefix,
      ...(from && { KeyMarker: start + from.key, VersionIdMarker: from.versionId }),
    });
    const page = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    const read = (one: OneVersion, isMarker: boolean): ObjectVersion => {
      const { Key = "", VersionId, LastModified, IsLatest = false, Size = 0 } = one;
      if (!Key.startsWith(start + prefix) || VersionId === undefined || !LastModified) {
        throw new BadAnswer("the list of versions holds what was not asked");
      }
      const facts = { isMarker, isLatest: IsLatest, sizeBytes: Size };
      const storedAtMs = LastModified.getTime();
      return { key: Key.slice(start.length), versionId: VersionId, storedAtMs, ...facts };
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
    const { bucket, prefix: start } = this.#connection.location;
    const command = new DeleteObjectsCommand({
      Bucket: bucket,
      Delete: {
        Quiet: true,
        Objects: targets.map(({ key, versionId }) => ({ Key: start + key, VersionId: versionId })),
      },
    });
    const answer = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
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
    const command = new HeadObjectCommand(this.#connection.target(key, versionId));
    const answer = await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
    const until = answer.ObjectLockRetainUntilDate;
    if (answer.ObjectLockLegalHoldStatus === "ON") return { mode: "legal hold", until: undefined };
    if (until === undefined) return undefined;
    return { mode: `${answer.ObjectLockMode?.toLowerCase()} retention`, until };
  }

  /** Makes the retention of an object longer; a governance one may become a compliance one. */
  async retain(key: string, lock: NonNullable<ObjectRules["lock"]>, versionId?: string) {
    const command = new PutObjectRetentionCommand({
      ...this.#connection.target(key, versionId),
      Retention: { Mode: lockModeOf(lock), RetainUntilDate: lock.until },
    });
    await this.#connection.send((abortSignal) =>
      this.#connection.client.send(command, { abortSignal }),
    );
  }

  /** Whether objects of the bucket can be locked; undefined where it does not tell. */
  async locksObjects(): Promise<boolean | undefined> {
    const { bucket } = this.#connection.location;
    const command = new GetObjectLockConfigurationCommand({ Bucket: bucket });
    try {
      const answer = await this.#connection.send((abortSignal) =>
        this.#connection.client.send(command, { abortSignal }),
      );
      return answer.ObjectLockConfiguration?.ObjectLockEnabled === "Enabled";
    } catch (error) {
      // No such configuration: no lock.
      if (isAnswer(error, 404)) return false;
      if (isRefusal(error)) return undefined;
      throw error;
    }
  }
}
