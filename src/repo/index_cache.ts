import type { Store } from "../store/store.ts";

/** Decoded index objects, the ones used last, within a limit of bytes. */
export class IndexCache {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get url(): string {
    return this.#store.url;
  }
}
