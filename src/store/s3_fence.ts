import { randomBytes } from "node:crypto";
import { IbackupError } from "../errors.ts";
import type { RetryClock } from "./retry_clock.ts";
import type { Call, S3Calls } from "./s3_calls.ts";
import { isAnswer, isUncertain } from "./s3_errors.ts";
import type { S3Requests } from "./s3_requests.ts";
import { firstVersion, type S3Versions } from "./s3_versions.ts";
import type { StoredObject } from "./store.ts";

/** An object that is there so that a condition can be tried on it. */
const CONDITION_KEY = "condition";
const CLAIMS = "claims/";
/** Longer than any put lasts, all its attempts included: an older claim is of a writer that died. */
const CLAIM_MS = 30 * 60_000;
/** A writer that stood still for so long with its claim begins anew. */
const STALL_MS_MAX = 60_000;
const CLAIM_ATTEMPTS = 8;
const FIRST_PAUSE_MS = 200;

/** What the fence needs of the store around it. */
export interface FenceReads {
  /** Of its newest version; undefined when the key is deleted, by whomever. */
  head(key: string): Promise<number | undefined>;
  /** Whether the object of a key has these bytes. */
  holds(key: string, body: Uint8Array, versionId?: string): Promise<boolean>;
  list(prefix: string): AsyncIterable<StoredObject>;
  /** From now on, reads of the key are to give this version. */
  noteFirst(key: string, versionId: string): void;
}

/**
 * Lets one of several writers put an object.
 *
 * Where the server honours the condition of a put that is all there is to it. Where it ignores or
 * refuses it, as some do in buckets that keep versions, the order of the versions decides: the
 * server makes it, and all see the same. Where there are no versions either, a writer first puts a
 * claim of its own and then looks for those of others: of two at least one sees the other's and
 * draws back. That relies on a list that shows what was put before, and on no writer standing still
 * for half an hour between two of its requests.
 */
export class S3Fence {
  readonly #requests: S3Requests;
  readonly #calls: S3Calls;
  readonly #versions: S3Versions;
  readonly #clock: RetryClock;
  readonly #reads: FenceReads;
  /** Of what was put here, where the bucket keeps versions. */
  readonly versionIds = new Map<string, string>();
  /** Found out at the first put. */
  #honoursCondition: Promise<boolean> | undefined;

  constructor(options: {
    requests: S3Requests;
    calls: S3Calls;
    versions: S3Versions;
    clock: RetryClock;
    reads: FenceReads;
    /** Known of a provider; else it is tried. */
    honoursCondition: boolean | undefined;
  }) {
    this.#requests = options.requests;
    this.#calls = options.calls;
    this.#versions = options.versions;
    this.#clock = options.clock;
    this.#reads = options.reads;
    if (options.honoursCondition !== undefined) {
      this.#honoursCondition = Promise.resolve(options.honoursCondition);
    }
  }

  async #kind(): Promise<"condition" | "versions" | "claims"> {
    if ((await this.#versions.areKept()) === true) return "versions";
    this.#honoursCondition ??= this.#tryCondition();
    return (await this.#honoursCondition) ? "condition" : "claims";
  }

  /** @returns False when another object was there first. */
  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    if ((await this.#reads.head(key)) !== undefined) return false;
    const kind = await this.#kind();
    if (kind === "versions") return await this.#putVersion(key, body);
    if (kind === "condition") return await this.#putOnCondition(key, body);
    return await this.#putWithClaim(key, body);
  }

  /** Tries the condition on an object that is there, or is after the first try. */
  async #tryCondition(): Promise<boolean> {
    const body = new TextEncoder().encode("ibackup tries conditional puts on this object\n");
    const attempt = async (): Promise<"honoured" | "written" | "unsupported"> =>
      await this.#calls.try({ action: "write", key: CONDITION_KEY }, async () => {
        try {
          await this.#requests.put({ key: CONDITION_KEY, body, ifAbsent: true });
          return "written";
        } catch (error) {
          if (isAnswer(error, 412)) return "honoured";
          if (isAnswer(error, 501)) return "unsupported";
          throw error;
        }
      });
    const first = await attempt();
    return (first === "written" ? await attempt() : first) === "honoured";
  }

  async #putOnCondition(key: string, body: Uint8Array): Promise<boolean> {
    let perhapsWritten = false;
    const written = await this.#calls.try(writing(key, body), async () => {
      try {
        return { versionId: await this.#requests.put({ key, body, ifAbsent: true }) };
      } catch (error) {
        if (isAnswer(error, 412)) return undefined;
        perhapsWritten ||= isUncertain(error);
        throw error;
      }
    });
    // A bucket that did not tell of its versions does so now.
    if (written?.versionId !== undefined) return await this.#wasFirst(key, body, written.versionId);
    // It exists. An earlier attempt of ours, whose answer was lost, may have put it there.
    return written !== undefined || (perhapsWritten && (await this.#reads.holds(key, body)));
  }

  async #putVersion(key: string, body: Uint8Array): Promise<boolean> {
    const put = async (ifAbsent: boolean) => await this.#requests.put({ key, body, ifAbsent });
    const versionId = await this.#calls.try(writing(key, body), async () => {
      try {
        return await put(true);
      } catch (error) {
        if (isAnswer(error, 412)) return undefined;
        if (isAnswer(error, 501)) return await put(false);
        throw error;
      }
    });
    return await this.#wasFirst(key, body, versionId);
  }

  /** @param versionId Of our own; undefined when the server says that there is one already. */
  async #wasFirst(key: string, body: Uint8Array, versionId: string | undefined): Promise<boolean> {
    const versions = await this.#versions.of(key);
    // Not shown to us: then the condition is all that there is.
    if (versions === undefined) {
      return versionId !== undefined || (await this.#reads.holds(key, body));
    }
    const first = firstVersion(versions);
    if (first === undefined) return false;
    if (first.versionId === versionId) {
      this.versionIds.set(key, versionId);
      this.#reads.noteFirst(key, versionId);
      return true;
    }
    // Of a repeated request the first may be ours as well.
    if (await this.#reads.holds(key, body, first.versionId)) return true;
    // Ours is the newest, and stays so where it cannot be removed.
    this.#reads.noteFirst(key, first.versionId);
    if (versionId !== undefined) await this.#tryToRemove(key, versionId);
    return false;
  }

  async #putWithClaim(key: string, body: Uint8Array): Promise<boolean> {
    for (let attempt = 0; attempt < CLAIM_ATTEMPTS; attempt++) {
      const claim = `${CLAIMS}${key}/${randomBytes(16).toString("hex")}`;
      const beganMs = this.#clock.now();
      await this.#put(claim, new TextEncoder().encode("claim\n"));
      try {
        const isAlone = await this.#isAlone(key, claim);
        // Whoever was first may have been done by then.
        if ((await this.#reads.head(key)) !== undefined) return await this.#reads.holds(key, body);
        if (isAlone && this.#clock.now() - beganMs < STALL_MS_MAX) {
          await this.#put(key, body);
          return true;
        }
      } finally {
        await this.#tryToRemove(claim);
      }
      await this.#clock.sleep(this.#clock.random() * FIRST_PAUSE_MS * 2 ** attempt);
    }
    throw new IbackupError("LOCKED", `Cannot write "${this.#calls.place(key)}"`, {
      why: `others are about to write it, or have died while they were (see the objects below "${CLAIMS}")`,
      fix: `run the command again; at the latest ${CLAIM_MS / 60_000} minutes after they died it will get through`,
    });
  }

  async #isAlone(key: string, claim: string): Promise<boolean> {
    const claims: StoredObject[] = [];
    for await (const one of this.#reads.list(`${CLAIMS}${key}/`)) claims.push(one);
    const own = claims.find((one) => one.key === claim);
    // A list that lacks what was just put cannot be relied on.
    if (own === undefined) return false;
    return claims.every((one) => one === own || own.storedAtMs - one.storedAtMs > CLAIM_MS);
  }

  async #put(key: string, body: Uint8Array): Promise<void> {
    const put = () => this.#requests.put({ key, body, ifAbsent: false });
    await this.#calls.try(writing(key, body), put);
  }

  /** What cannot be removed is in nobody's way for long. */
  async #tryToRemove(key: string, versionId?: string): Promise<void> {
    try {
      const remove = () => this.#requests.delete(key, versionId);
      await this.#calls.find({ action: "remove", key }, remove);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
    }
  }
}

function writing(key: string, body: Uint8Array): Call {
  return { action: "write", key, byteCount: body.length };
}
