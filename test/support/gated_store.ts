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

/** Several users of one store, whose calls are let through one at a time. */
export class Gate {
  readonly #users: User[] = [];
  readonly #gated: RegExp;

  /** @param gated Keys and prefixes whose calls wait; others pass. */
  constructor(gated = /^/) {
    this.#gated = gated;
  }

  /** What one user sees of the store. Its calls wait until `run` lets them through. */
  open(store: Store, work: (gated: Store) => Promise<void>): void {
    this.join(async (turn) => {
      const onKey = async (key: string): Promise<void> => {
        if (this.#gated.test(key)) await turn();
      };
      await work(new GatedStore(store, onKey));
    });
  }

  /** For users who call something else than a store: each call waits for its turn first. */
  join(work: (turn: () => Promise<void>) => Promise<void>): void {
    const user = new User();
    this.#users.push(user);
    user.begin(() => work(() => user.turn()));
  }

  /**
   * Lets calls through until all users have ended; throws what the work of one has thrown.
   *
   * @param choose Which of those that wait is next: an index below `waiting`.
   */
  async run(choose: (waiting: number) => number): Promise<void> {
    for (;;) {
      for (const user of this.#users) await user.settled();
      const waiting = this.#users.filter((user) => user.isWaiting);
      if (waiting.length === 0) break;
      waiting[choose(waiting.length)]?.letThrough();
    }
    for (const { failure } of this.#users) if (failure !== undefined) throw failure;
  }
}

/**
 * Runs `play` once for each way in which the calls of its users can follow one another.
 *
 * @param play Is to give its argument to `Gate.run`.
 * @param depthMax After so many choices the first that waits is let through.
 * @returns How many ways there were.
 */
export async function everyInterleaving(
  play: (choose: (waiting: number) => number) => Promise<void>,
  depthMax = Number.POSITIVE_INFINITY,
): Promise<number> {
  /** The choices of this round, and of how many each was. */
  let path: { taken: number; of: number }[] = [];
  for (let rounds = 1; ; rounds++) {
    let depth = 0;
    await play((waiting) => {
      if (depth >= depthMax) return 0;
      path[depth] ??= { taken: 0, of: waiting };
      return path[depth++]?.taken ?? 0;
    });
    path = path.slice(0, depth);
    while (path.length > 0 && isLastChoice(path.at(-1))) path.pop();
    const last = path.at(-1);
    if (last === undefined) return rounds;
    last.taken += 1;
  }
}

function isLastChoice(choice: { taken: number; of: number } | undefined): boolean {
  return choice !== undefined && choice.taken + 1 === choice.of;
}

class User {
  readonly #calls: (() => void)[] = [];
  #hasEnded = false;
  failure: unknown;
  #wake: () => void = () => undefined;

  begin(work: () => Promise<void>): void {
    const end = (failure?: unknown): void => {
      this.failure = failure;
      this.#hasEnded = true;
      this.#wake();
    };
    work().then(() => end(), end);
  }

  get isWaiting(): boolean {
    return this.#calls.length > 0;
  }

  /** Resolves when it waits for the gate or has ended. */
  async settled(): Promise<void> {
    while (!this.isWaiting && !this.#hasEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  letThrough(): void {
    this.#calls.shift()?.();
  }

  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#calls.push(resolve);
      this.#wake();
    });
  }
}

class GatedStore implements Store {
  readonly url: string;
  readonly #inner: Store;
  readonly #turn: (key: string) => Promise<void>;

  constructor(inner: Store, turn: (key: string) => Promise<void>) {
    this.url = inner.url;
    this.#inner = inner;
    this.#turn = turn;
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<void> {
    await this.#turn(key);
    await this.#inner.put(key, body, options);
  }

  async putIfAbsent(key: string, body: Uint8Array): Promise<boolean> {
    await this.#turn(key);
    return await this.#inner.putIfAbsent(key, body);
  }

  async get(key: string, options: { maxBytes: number }): Promise<Uint8Array | undefined> {
    await this.#turn(key);
    return await this.#inner.get(key, options);
  }

  async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    await this.#turn(key);
    return await this.#inner.getRange(key, range);
  }

  async head(key: string): Promise<number | undefined> {
    await this.#turn(key);
    return await this.#inner.head(key);
  }

  async *list(prefix: string): AsyncGenerator<StoredObject> {
    await this.#turn(prefix);
    yield* this.#inner.list(prefix);
  }

  async delete(key: string): Promise<void> {
    await this.#turn(key);
    await this.#inner.delete(key);
  }

  async erase(keys: Keys, options?: EraseOptions): Promise<void> {
    const all = await collect(keys);
    await this.#turn(all[0] ?? "");
    await this.#inner.erase(all, options);
  }

  async extendRetention(...args: Parameters<Store["extendRetention"]>): Promise<Date> {
    await this.#turn(args[0]);
    return await this.#inner.extendRetention(...args);
  }

  async probe(): Promise<StoreProbe> {
    return await this.#inner.probe();
  }

  async close(): Promise<void> {}
}
