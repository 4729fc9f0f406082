import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import type { Store, StoredObject } from "../../src/store/store.ts";
import { collect } from "../support/collect.ts";

const MIB = 1024 * 1024;
const WRITERS = 32;

/** The promises of `Store`, held against one implementation. `open` gives an empty store. */
export function describeStoreContract(name: string, open: () => Promise<Store>): void {
  describe(`${name} keeps the contract of Store`, () => {
    let store: Store;
    beforeAll(async () => {
      store = await open();
    });
    afterAll(async () => {
      await store?.close();
    });

    test("lists nothing and knows no object at first", async () => {
      expect(await listed(store, "")).toEqual([]);
      expect(await store.get("nothing", { maxBytes: 10 })).toBeUndefined();
      expect(await store.getRange("no/thing", { offset: 0, length: 1 })).toBeUndefined();
      expect(await store.head("nothing")).toBeUndefined();
      await store.delete("nothing");
    });

    test.each([0, 1, 4096, 16 * MIB])("gives back the %i bytes that were put", async (size) => {
      const body = randomBytes(size);
      await store.put(`sizes/${size}`, body);
      expect(await store.head(`sizes/${size}`)).toBe(size);
      const read = await store.get(`sizes/${size}`, { maxBytes: size });
      expect(read && Buffer.compare(read, body)).toBe(0);
    });

    test("takes a part of a larger buffer, and leaves the buffer to its owner", async () => {
      const buffer = new Uint8Array([9, 9, 1, 2, 3, 9]);
      await store.put("part", buffer.subarray(2, 5));
      buffer.fill(0);
      expect(await bytesOf(store, "part")).toEqual([1, 2, 3]);
    });

    test("takes the same object twice", async () => {
      await store.put("twice", new Uint8Array([1]));
      await store.put("twice", new Uint8Array([1]));
      expect(await bytesOf(store, "twice")).toEqual([1]);
    });

    test("keeps keys with dots, dashes and folders apart", async () => {
      const keys = ["dots/a.b.c", "dots/a-b", "dots/a_b/x", "dots/a.b/y", "dots/0/0.tmp"];
      for (const key of keys) await store.put(key, new TextEncoder().encode(key));
      for (const key of keys) {
        const read = await store.get(key, { maxBytes: 100 });
        expect(new TextDecoder().decode(read)).toBe(key);
      }
    });

    test("reads a range, and fewer bytes only where the object ends", async () => {
      await store.put("range", new Uint8Array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
      const range = async (offset: number, length: number) =>
        Array.from((await store.getRange("range", { offset, length })) ?? [-1]);
      expect(await range(0, 3)).toEqual([0, 1, 2]);
      expect(await range(4, 1)).toEqual([4]);
      expect(await range(8, 5)).toEqual([8, 9]);
      expect(await range(0, 10)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect(await range(10, 5)).toEqual([]);
      expect(await range(99, 5)).toEqual([]);
      expect(await range(3, 0)).toEqual([]);
    });

    test("reads a range of an empty object", async () => {
      await store.put("hollow", new Uint8Array());
      expect(await store.getRange("hollow", { offset: 0, length: 4 })).toHaveLength(0);
      expect(await store.getRange("hollow", { offset: 0, length: 0 })).toHaveLength(0);
      expect(await store.getRange("absent", { offset: 0, length: 0 })).toBeUndefined();
    });

    test("refuses to read more than the caller allows", async () => {
      await store.put("toolarge", new Uint8Array(101));
      await expect(store.get("toolarge", { maxBytes: 100 })).rejects.toMatchObject({
        code: "CORRUPT_DATA",
      });
    });

    test("lists by prefix in ascending order of key, with sizes", async () => {
      // "-" and "." sort before "/", digits and letters after it.
      const keys = ["l/a/z", "l/a-", "l/a.b", "l/a0", "l/ab/c/d", "l/B", "l/ab/c.x", "m/a"];
      for (const [index, key] of keys.entries()) await store.put(key, new Uint8Array(index));
      const expected = keys.map((key, sizeBytes) => ({ key, sizeBytes }));
      expected.sort((left, right) => (left.key < right.key ? -1 : 1));
      const starting = (prefix: string) => expected.filter(({ key }) => key.startsWith(prefix));
      for (const prefix of ["l/", "l/a", "l/ab", "l/ab/", "l/ab/c", "l/a.", "l", "l/zz", "l/B"]) {
        expect(await listed(store, prefix)).toEqual(starting(prefix));
      }
    });

    test("removes an object, and does not mind when it is gone", async () => {
      await store.put("gone/soon", new Uint8Array(5));
      await store.delete("gone/soon");
      await store.delete("gone/soon");
      expect(await store.head("gone/soon")).toBeUndefined();
      expect(await listed(store, "gone/")).toEqual([]);
    });

    test("erases many objects, those that are not there too", async () => {
      const keys = Array.from({ length: 1203 }, (_, number) => `many/${number % 3}/${number}`);
      for (const key of keys.slice(0, 30)) await store.put(key, new Uint8Array(1));
      await store.put("many/1/kept", new Uint8Array(1));
      await store.put("many/1/1", new Uint8Array(1));
      await store.erase(keys);
      expect((await listed(store, "many/")).map(({ key }) => key)).toEqual(["many/1/kept"]);
      await store.erase([]);
      await store.erase(oneByOne(["many/1/kept"]));
      expect(await listed(store, "many/")).toEqual([]);
    });

    test("tells by its own clock when an object was put last", async () => {
      for (const key of ["when/a", "when/b", "when/c"]) {
        await store.put(key, new Uint8Array(1));
        await new Promise((resolve) => setTimeout(resolve, 1100));
      }
      await store.put("when/a", new Uint8Array(1));
      const times = new Map((await stored(store, "when/")).map((it) => [it.key, it.storedAtMs]));
      const order = ["when/b", "when/c", "when/a"].map((key) => times.get(key) ?? 0);
      expect(order).toEqual(order.toSorted((left, right) => left - right));
      expect(new Set(order).size).toBe(3);
      expect(Math.abs((order[2] ?? 0) - Date.now())).toBeLessThan(60_000);
    });

    test("puts if absent only once", async () => {
      expect(await store.putIfAbsent("once", new Uint8Array([1]))).toBe(true);
      expect(await store.putIfAbsent("once", new Uint8Array([2]))).toBe(false);
      expect(await bytesOf(store, "once")).toEqual([1]);
      await store.erase(["once"]);
      expect(await store.putIfAbsent("once", new Uint8Array([3]))).toBe(true);
    });

    test(`lets one of ${WRITERS} writers win, and keeps what the winner wrote`, async () => {
      for (let round = 0; round < 5; round++) {
        const writers = Array.from({ length: WRITERS }, (_, writer) =>
          store.putIfAbsent(`race/${round}`, new Uint8Array(4096).fill(writer)),
        );
        const won = (await Promise.all(writers)).flatMap((yes, writer) => (yes ? [writer] : []));
        expect(won).toHaveLength(1);
        const kept = await store.get(`race/${round}`, { maxBytes: 4096 });
        expect(new Set(kept)).toEqual(new Set(won));
      }
    });

    test("stores nothing for a put that was aborted before it began", async () => {
      const signal = AbortSignal.abort(new Error("enough"));
      await expect(store.put("aborted", new Uint8Array(1), { signal })).rejects.toThrow("enough");
      expect(await store.head("aborted")).toBeUndefined();
    });

    test.each(["", "/a", "a/", "../a", "a/../b", ".a", "a/.b", "a//b", "a b", "a\0", "ä"])(
      "refuses the key %j as a bug of the caller",
      async (key) => {
        for (const refused of [
          () => store.put(key, new Uint8Array()),
          () => store.putIfAbsent(key, new Uint8Array()),
          () => store.get(key, { maxBytes: 1 }),
          () => store.getRange(key, { offset: 0, length: 1 }),
          () => store.head(key),
          () => store.delete(key),
          () => store.erase([key]),
        ]) {
          const error: unknown = await refused().catch((reason) => reason);
          expect(error).toBeInstanceOf(Error);
          expect(error).not.toBeInstanceOf(IbackupError);
        }
      },
    );

    test.each(["../", "/", ".", "a//", "a/."])("refuses the prefix %j", async (prefix) => {
      await expect(listed(store, prefix)).rejects.toThrow("Broken invariant");
    });

    test("says what it honours, and leaves nothing behind", async () => {
      const before = await listed(store, "");
      expect(await store.probe()).toEqual({
        readable: true,
        writable: true,
        conditionalPut: "honoured",
        fence: "condition",
        versioning: false,
        objectLock: false,
        problems: [],
      });
      expect(await listed(store, "")).toEqual(before);
    });
  });
}

/** What is listed, without the times. */
export async function listed(
  store: Store,
  prefix: string,
): Promise<Omit<StoredObject, "storedAtMs">[]> {
  const objects = await stored(store, prefix);
  return objects.map(({ key, sizeBytes }) => ({ key, sizeBytes }));
}

async function stored(store: Store, prefix: string): Promise<StoredObject[]> {
  return await collect(store.list(prefix));
}

async function* oneByOne(keys: string[]): AsyncGenerator<string> {
  yield* keys;
}

export async function bytesOf(store: Store, key: string): Promise<number[]> {
  return Array.from((await store.get(key, { maxBytes: 64 * MIB })) ?? []);
}
