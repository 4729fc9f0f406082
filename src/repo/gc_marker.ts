import { randomBytes } from "node:crypto";
import { assert } from "../errors.ts";
import type { Store, StoredObject } from "../store/store.ts";

const PREFIX = "markers/";

/** Says that gc is at work, and what time it is by the clock of the store. */
export interface GcMarker {
  /** When it began. */
  storedAtMs: number;
  /** Those that a killed gc has left behind. */
  older: readonly StoredObject[];
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
    older: found.filter((object) => object !== own),
    remove: () => store.erase([key]),
  };
}
