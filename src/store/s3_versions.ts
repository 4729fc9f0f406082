import type { ObjectVersion, S3BucketRequests, VersionPage } from "./s3_bucket_requests.ts";
import type { S3Calls } from "./s3_calls.ts";
import { isRefusal } from "./s3_errors.ts";
import type { StoredObject } from "./store.ts";

/** What a bucket that keeps versions says of a key. */
export interface KeyVersions {
  key: string;
  /** All of them, newest first, and then the markers. */
  versions: ObjectVersion[];
}

/**
 * In a bucket that keeps versions, the object of a key is its first version since the key was last
 * deleted; what was put over it does not count. So two writers agree on who was first, whatever
 * becomes of the conditions of their puts, and nobody can replace what is written.
 */
export class S3Versions {
  readonly #bucket: S3BucketRequests;
  readonly #calls: S3Calls;
  /** Undefined until the bucket was asked. "perhaps": it does not tell. */
  #kept: Promise<boolean | "perhaps"> | undefined;

  constructor(bucket: S3BucketRequests, calls: S3Calls) {
    this.#bucket = bucket;
    this.#calls = calls;
  }

  /** Whether the bucket keeps versions, or has kept some. Asked once. */
  async areKept(): Promise<boolean | "perhaps"> {
    this.#kept ??= this.#calls.try({ action: "read", key: "" }, async () => {
      try {
        return await this.#bucket.keepsVersions();
      } catch (error) {
        if (isRefusal(error)) return "perhaps";
        throw error;
      }
    });
    return await this.#kept;
  }

  /** Of exactly this key; undefined where the server does not show them. */
  async of(key: string): Promise<ObjectVersion[] | undefined> {
    const found: ObjectVersion[] = [];
    let from: VersionPage["next"];
    do {
      const page = await this.#page(key, from);
      if (page === undefined) return undefined;
      found.push(...page.versions.filter((version) => version.key === key));
      // Keys that begin with this one come after it.
      from = page.next?.key === key ? page.next : undefined;
    } while (from !== undefined);
    return found;
  }

  /** Ascending by key; undefined at once where the server does not show versions. */
  async list(prefix: string): Promise<AsyncGenerator<KeyVersions> | undefined> {
    const first = await this.#page(prefix, undefined);
    return first && this.#groups(prefix, first);
  }

  async *#groups(prefix: string, first: VersionPage): AsyncGenerator<KeyVersions> {
    let rest: ObjectVersion[] = [];
    for (let page: VersionPage | undefined = first; page !== undefined; ) {
      const groups = byKey([...rest, ...page.versions]);
      const next: VersionPage["next"] = page.next;
      // The last key may go on in the next page.
      rest = next === undefined ? [] : (groups.pop()?.versions ?? []);
      yield* groups;
      page = next && (await this.#page(prefix, next));
    }
  }

  async #page(prefix: string, from: VersionPage["next"]): Promise<VersionPage | undefined> {
    return await this.#calls.try({ action: "list", key: prefix }, async () => {
      try {
        return await this.#bucket.listVersions(prefix, from);
      } catch (error) {
        // A page in the middle has been allowed before.
        if (from === undefined && isRefusal(error)) return undefined;
        throw error;
      }
    });
  }
}

/** The version that counts; undefined when the key is deleted. */
export function firstVersion(versions: readonly ObjectVersion[]): ObjectVersion | undefined {
  const markers = versions.filter(({ isMarker }) => isMarker);
  if (markers.some(({ isLatest }) => isLatest)) return undefined;
  const deletedAtMs = Math.max(...markers.map(({ storedAtMs }) => storedAtMs));
  const bodies = versions.filter(({ isMarker }) => !isMarker);
  // Times may be whole seconds. In doubt a version counts: then a writer loses who need not have.
  const alive = bodies.filter(({ storedAtMs }) => storedAtMs >= deletedAtMs);
  return alive.at(-1) ?? bodies[0];
}

/** As `Store.list` tells it; undefined when the key is deleted. */
export function objectOf({ key, versions }: KeyVersions): StoredObject | undefined {
  const first = firstVersion(versions);
  if (first === undefined) return undefined;
  const newest = versions.find(({ isMarker }) => !isMarker) ?? first;
  return { key, sizeBytes: first.sizeBytes, storedAtMs: newest.storedAtMs };
}

function byKey(versions: readonly ObjectVersion[]): KeyVersions[] {
  const groups = new Map<string, ObjectVersion[]>();
  for (const version of versions) {
    const group = groups.get(version.key);
    if (group) group.push(version);
    else groups.set(version.key, [version]);
  }
  const found = [...groups].map(([key, ofKey]) => ({ key, versions: ofKey }));
  return found.sort((left, right) => (left.key < right.key ? -1 : 1));
}
