import { IbackupError } from "../../src/errors.ts";
import type {
  ByteRange,
  EraseOptions,
  Keys,
  PutOptions,
  Store,
  StoredObject,
  StoreProbe,
} from "../../src/store/store.ts";
import { collect } from "./collect.ts";

/**
 * What happens to the chosen call. Of these, a store that keeps its contract can do:
 * - "fail": it throws STORE_UNREACHABLE and changes nothing;
 * - "fail after": the store does it, and then it throws, like an answer lost on its way;
 * - "twice": the store does it twice, and the second answer is given, as after a repeated request;
 * - "late": a write throws, and the store does it when `settle` is called: nobody expects it then;
 * - "hang": it never ends (a put with a signal ends by the abort).
 *
 * And of what it must never do, for tests of the digests above it:
 * - "stale list": a list shows what there was when this store was opened;
 * - "forget": a write succeeds and changes nothing;
 * - "vanish": a write throws, can be seen all the same, and is undone when `settle` is called;
 * - "truncate": a read loses its last byte, and a write stores all but the last byte;
 * - "flip": a read gives, and a write stores, one bit that is another.
 *
 * Calls that a fault has no meaning for fail where it is one of the first, and pass where not.
 */
export const HONEST_FAULTS = ["fail", "fail after", "twice", "late"] as const;
export const FALSE_FAULTS = ["stale list", "forget", "vanish", "truncate", "flip"] as const;
export type Fault = (typeof HONEST_FAULTS)[number] | (typeof FALSE_FAULTS)[number] | "hang";

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

/** One call: what it does to the store that is wrapped, and how to take it back. */
interface Action<T> {
  call: StoreCall;
  key: string;
  signal?: AbortSignal | undefined;
  run: () => Promise<T>;
  /** The same, with bytes that are not those. */
  spoil?: (change: (bytes: Uint8Array) => Uint8Array) => Promise<T>;
  /** Of writes only. `keep`: so that it can be done when the caller has its buffer back. */
  write?: { keys: readonly string[]; forgotten: T; keep: () => () => Promise<unknown> };
}

/** Wraps a store and spoils the nth call. `fired` tells whether it came to that. */
export class FaultStore implements Store {
  readonly url: string;
  readonly lock: Store["lock"];
  readonly #inner: Store;
  readonly #plan: FaultPlan;
  readonly #unsettled: (() => Promise<unknown>)[] = [];
  /** What was listed at first, for stale lists. */
  #before: Promise<StoredObject[]> | undefined;
  /** Counted calls so far. */
  calls = 0;
  fired = false;

  constructor(inner: Store, plan: FaultPlan) {
    this.url = inner.url;
    this.lock = inner.lock;
    this.#inner = inner;
    this.#plan = plan;
    if (plan.fault === "stale list") this.#before = collect(inner.list(""));
  }

  /** Lets happen what a late or vanishing write has left to happen. */
  async settle(): Promise<void> {
    for (const happen of this.#unsettled.splice(0)) await happen();
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<void> {
    const run = (bytes: Uint8Array) => this.#inner.put(key, bytes, options);
    const keep = () => later(body, (bytes) => this.#inner.put(key, bytes));
    const write = { keys: [key], forgotten: undefined, keep };
    const signal = options?.signal;
    const spoil = (change: (bytes: Uint8Array) => Uint8Array) => run(change(body));
    await this.#act({ call: "put", key, signal, run: () => run(body), spoil, write });
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    const run = (bytes: Uint8Array) => this.#inner.putIfAbsent(key, bytes);
    const write = { keys: [key], forgotten: true, keep: () => later(body, run) };
    const spoil = (change: (bytes: Uint8Array) => Uint8Array) => run(change(body));
    return await this.#act({ call: "putIfAbsent", key, run: () => run(body), spoil, write });
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    return await this.#read("get", key, () => this.#inner.get(key, options));
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    return await this.#read("getRange", key, () => this.#inner.getRange(key, range));
  }

  async head(key: string): Promise<number | undefined> {
    return await this.#act({ call: "head", key, run: () => this.#inner.head(key) });
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    const run = async (): Promise<boolean> => false;
    const isStale = await this.#act({ call: "list", key: prefix, run, spoil: async () => true });
    if (!isStale || !this.#before) yield* this.#inner.list(prefix);
    else for (const one of await this.#before) if (one.key.startsWith(prefix)) yield one;
  }

  async delete(key: string): Promise<void> {
    const run = () => this.#inner.delete(key);
    const write = { keys: [key], forgotten: undefined, keep: () => run };
    await this.#act({ call: "delete", key, run, write });
  }

  async erase(keys: Keys, options?: EraseOptions): Promise<void> {
    const all = await collect(keys);
    const run = () => this.#inner.erase(all, options);
    const write = { keys: all, forgotten: undefined, keep: () => () => this.#inner.erase(all) };
    await this.#act({ call: "erase", key: all.join(" "), run, write });
  }

  async extendRetention(...args: Parameters<Store["extendRetention"]>): Promise<Date> {
    const run = () => this.#inner.extendRetention(...args);
    const write = { keys: [], forgotten: args[1].until, keep: () => run };
    return await this.#act({ call: "extendRetention", key: args[0], run, write });
  }

  async probe(): Promise<StoreProbe> {
    return await this.#inner.probe();
  }

  async close(): Promise<void> {
    await this.#inner.close();
  }

  async #read(
    call: StoreCall,
    key: string,
    run: () => Promise<Uint8Array | undefined>,
  ): Promise<Uint8Array | undefined> {
    const spoil = async (change: (bytes: Uint8Array) => Uint8Array) => {
      const bytes = await run();
      return bytes && change(bytes);
    };
    return await this.#act({ call, key, run, spoil });
  }

  async #act<T>(action: Action<T>): Promise<T> {
    if (!this.#isTurnOf(action.call)) return await action.run();
    const { run, spoil, write, signal } = action;
    switch (this.#plan.fault) {
      case "fail":
        throw this.#failure(action);
      case "fail after":
        await run();
        throw this.#failure(action);
      case "twice":
        await run();
        return await run();
      case "late":
        if (write) this.#unsettled.push(write.keep());
        throw this.#failure(action);
      case "vanish":
        if (write) await this.#runAndUndo(run, write.keys);
        throw this.#failure(action);
      case "hang":
        return await hangUntilAborted(signal);
      case "forget":
        return write ? write.forgotten : await run();
      case "stale list":
        return action.call === "list" && spoil ? await spoil((bytes) => bytes) : await run();
      case "truncate":
        return spoil && action.call !== "list"
          ? await spoil((bytes) => bytes.subarray(0, -1))
          : await run();
      case "flip":
        return spoil && action.call !== "list" ? await spoil(flipped) : await run();
    }
  }

  async #runAndUndo(run: () => Promise<unknown>, keys: readonly string[]): Promise<void> {
    const before = new Map<string, Uint8Array | undefined>();
    for (const key of keys) {
      before.set(key, await this.#inner.get(key, { maxBytes: Number.POSITIVE_INFINITY }));
    }
    await run();
    this.#unsettled.push(async () => {
      for (const [key, bytes] of before) {
        await this.#inner.erase([key]);
        if (bytes) await this.#inner.put(key, bytes);
      }
    });
  }

  #failure({ call, key }: { call: StoreCall; key: string }): IbackupError {
    return new IbackupError("STORE_UNREACHABLE", `Cannot ${call} "${key}"`, {
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

function later(
  body: Uint8Array,
  run: (bytes: Uint8Array) => Promise<unknown>,
): () => Promise<unknown> {
  const copy = body.slice();
  return () => run(copy);
}

function flipped(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice();
  const at = copy.length >> 1;
  if (copy.length > 0) copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}

function hangUntilAborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
