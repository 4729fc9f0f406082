import { randomBytes } from "node:crypto";
import { IbackupError } from "../errors.ts";
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

/** @throws IbackupError IO where the store does not list at once what was stored: then gc is not safe. */
export async function putMarker(store: Store): Promise<GcMarker> {
  const name = randomBytes(16).toString("hex");
  const key = PREFIX + name;
  await store.put(key, new TextEncoder().encode(`${name}\n`));
  const found: StoredObject[] = [];
  for await (const object of store.list(PREFIX)) found.push(object);
  const own = found.find((object) => object.key === key);
  if (own === undefined) throw listsLate(store);
  return {
    storedAtMs: own.storedAtMs,
    older: found.filter((object) => object !== own),
    remove: () => store.erase([key]),
  };
}

function listsLate(store: Store): IbackupError {
  return new IbackupError("IO", `Cannot look for garbage in ${store.url}`, {
    why: "the store does not list what was stored a moment ago, so nobody knows what is needed",
    fix: "run the command again; use a store whose lists are always complete",
  });
}
