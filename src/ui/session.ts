/** The one session of a page: opened by a token, once, and kept by a cookie. */
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";

const TOKEN_MS_MAX = 10 * 60_000;
const IDLE_MS_MAX = 12 * 3_600_000;
const SECRET_BYTES = 32;

export interface SessionOptions {
  /** So many bytes that nobody can guess. */
  random(bytes: number): Uint8Array;
  /** It never goes back. */
  monotonicMs(): number;
}

export class Session {
  /** Opens it, once, if it is used within ten minutes. */
  readonly token: string;
  /** What the page sends with all that changes anything: no other page can read it. */
  readonly csrf: string;
  readonly #cookie: string;
  readonly #monotonicMs: () => number;
  readonly #madeAtMs: number;
  /** Undefined before it was opened. */
  #owner: { uid: number; seenAtMs: number } | undefined;

  constructor({ random, monotonicMs }: SessionOptions) {
    const secret = (): string => Buffer.from(random(SECRET_BYTES)).toString("base64url");
    this.token = secret();
    this.csrf = secret();
    this.#cookie = secret();
    this.#monotonicMs = monotonicMs;
    this.#madeAtMs = monotonicMs();
  }

  /**
   * @param whoAsks The user whose program asks: from now on only his may. Undefined when it has gone. It
   *   is asked for last, because it takes a while: nobody is to keep the page from its user.
   * @returns The cookie's value; undefined when the token is wrong, used, or too old.
   */
  open(token: string, whoAsks: () => number | undefined): string | undefined {
    const isLate = this.#monotonicMs() - this.#madeAtMs > TOKEN_MS_MAX;
    if (this.#owner !== undefined || isLate || !isSame(token, this.token)) return undefined;
    const uid = whoAsks();
    if (uid === undefined) return undefined;
    this.#owner = { uid, seenAtMs: this.#monotonicMs() };
    return this.#cookie;
  }

  /** Whether the request is the session's. Each that is keeps it for another twelve hours. */
  admits(cookie: string, whoAsks: () => number | undefined): boolean {
    if (this.#owner === undefined || !isSame(cookie, this.#cookie)) return false;
    const nowMs = this.#monotonicMs();
    if (nowMs - this.#owner.seenAtMs > IDLE_MS_MAX || this.#owner.uid !== whoAsks()) return false;
    this.#owner.seenAtMs = nowMs;
    return true;
  }
}

/** Takes the same time whatever differs. */
export function isSame(given: string, secret: string): boolean {
  return timingSafeEqual(sha256(given), sha256(secret));
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}
