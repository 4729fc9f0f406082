import { randomBytes } from "node:crypto";
import { assert } from "../errors.ts";
import type { Store, StoredObject } from "../store/store.ts";

const PREFIX = "markers/";

/** Says that gc is at work, and what time it is by the clock of the store. */
export interface GcMarker {
  /** When it began. */
  storedAtMs: number;
  /** Those that a killed gc has left behind. */
  older(): AsyncIterable<StoredObject>;
  remove(): Promise<void>;
}

export async function putMarker(store: Store): Promise<GcMarker> {
  const name = randomBytes(16).toString("hex");
  const key = PREFIX + name;
  await store.put(key, new TextEncoder().encode(`${name}\n`));
  const found: StoredObject[] = [];
  for await (const object of store.list(PREFIX)) found.push(object);
  const own = found.find((object) => object.key === key);
  assert(own !== undefined, "what was stored is listed");
  return {
    storedAtMs: own.storedAtMs,
    async *older() {
      for (const object of found) if (object !== own) yield object;
    },
    remove: () => store.erase([key]),
  };
}
