import { IbackupError } from "../../src/errors.ts";
import type {
  ByteRange,
  EraseOptions,
  Keys,
  Store,
  StoredObject,
  StoreProbe,
} from "../../src/store/store.ts";
import { collect } from "./collect.ts";

/**
 * What happens to the chosen call:
 * - "fail": it throws STORE_UNREACHABLE and changes nothing;
 * - "fail after": the store does it, and then it throws, like an answer lost on its way;
 * - "hang": it never ends (a put with a signal ends by the abort);
 * - "truncate": a read loses its last byte, and a write stores all but the last byte
 *   (something a real store must never do: for tests of the digests above it).
 */
export type Fault = "fail" | "fail after" | "hang" | "truncate";

export type StoreCall = Exclude<keyof Store, "url" | "close" | "probe">;

export interface FaultPlan {
  /** 1 is the first call. */
  nth: number;
  fault: Fault;
  /** Which calls count. Default: all. */
  calls?: readonly StoreCall[];
  /** True: every call from the nth on, as if the network had died. Default: only that one. */
  onwards?: boolean;
}

/** Wraps a store and spoils the nth call. `fired` tells whether it came to that. */
export class FaultStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #plan: FaultPlan;
  /** Counted calls so far. */
  calls = 0;
  fired = false;

  constructor(inner: Store, plan: FaultPlan) {
    this.url = inner.url;
    this.#inner = inner;
    this.#plan = plan;
  }

  async put(key: string, body: Uint8Array, options?: { signal?: AbortSignal }): Promise<void> {
    const run = (bytes: Uint8Array) => this.#inner.put(key, bytes, options);
    await this.#write({ call: "put", key, signal: options?.signal }, body, run);
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    const run = (bytes: Uint8Array) => this.#inner.putIfAbsent(key, bytes);
    return await this.#write({ call: "putIfAbsent", key }, body, run);
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    return await this.#read({ call: "get", key }, () => this.#inner.get(key, options));
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    return await this.#read({ call: "getRange", key }, () => this.#inner.getRange(key, range));
  }

  async head(key: string): Promise<number | undefined> {
    return await this.#run({ call: "head", key }, () => this.#inner.head(key));
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    await this.#run({ call: "list", key: prefix }, async () => undefined);
    yield* this.#inner.list(prefix);
  }

  async delete(key: string): Promise<void> {
    await this.#run({ call: "delete", key }, () => this.#inner.delete(key));
  }

  async erase(keys: Keys, options?: EraseOptions): Promise<void> {
    const all = await collect(keys);
    await this.#run({ call: "erase", key: all.join(" ") }, () => this.#inner.erase(all, options));
  }

  async probe(): Promise<StoreProbe> {
    return await this.#inner.probe();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #write<T>(
    target: Target,
    body: Uint8Array,
    write: (bytes: Uint8Array) => Promise<T>,
  ): Promise<T> {
    const truncated = this.#plan.fault === "truncate" ? body.subarray(0, -1) : body;
    return await this.#run(target, (spoilt) => write(spoilt ? truncated : body));
  }

  async #read(
    target: Target,
    read: () => Promise<Uint8Array | undefined>,
  ): Promise<Uint8Array | undefined> {
    return await this.#run(target, async (spoilt) => {
      const bytes = await read();
      return spoilt && this.#plan.fault === "truncate" ? bytes?.subarray(0, -1) : bytes;
    });
  }

  async #run<T>(target: Target, work: (spoilt: boolean) => Promise<T>): Promise<T> {
    const spoilt = this.#isTurnOf(target.call);
    if (!spoilt || this.#plan.fault === "truncate") return await work(spoilt);
    if (this.#plan.fault === "hang") return await hangUntilAborted(target.signal);
    if (this.#plan.fault === "fail after") await work(spoilt);
    throw new IbackupError("STORE_UNREACHABLE", `Cannot ${target.call} "${target.key}"`, {
      why: `call ${this.calls} of this store was told to fail`,
      fix: "nothing: this is a test",
    });
  }

  #isTurnOf(call: StoreCall): boolean {
    if (this.#plan.calls !== undefined && !this.#plan.calls.includes(call)) return false;
    this.calls += 1;
    const { nth, onwards } = this.#plan;
    const turn = onwards === true ? this.calls >= nth : this.calls === nth;
    this.fired ||= turn;
    return turn;
  }
}

interface Target {
  call: StoreCall;
  key: string;
  signal?: AbortSignal | undefined;
}

function hangUntilAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
