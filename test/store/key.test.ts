import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { assertKey, assertPrefix, compareKeys, isKey } from "../../src/store/key.ts";

const part = fc.stringMatching(/^[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}$/);
const key = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"));

describe("A key", () => {
  test("is any parts of letters, digits, dots, dashes and underscores between slashes", () => {
    fc.assert(fc.property(key, (text) => isKey(text)));
  });

  test("never leads out of the folder of the store", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const inside = new URL(`x:/root/${encodeURI(text.toWellFormed())}`).pathname;
        return !isKey(text) || inside === `/root/${text}`;
      }),
    );
  });

  test("may be cut anywhere to make a prefix, but not in front of a dot that begins a part", () => {
    fc.assert(
      fc.property(key, fc.nat(), (text, cut) => {
        assertPrefix(text.slice(0, cut % (text.length + 1)));
      }),
    );
  });

  test("is limited in length, as a whole and between slashes", () => {
    expect(isKey("a".repeat(200))).toBe(true);
    expect(isKey("a".repeat(201))).toBe(false);
    expect(isKey(`${"a/".repeat(255)}bb`)).toBe(true);
    expect(isKey(`${"a/".repeat(256)}b`)).toBe(false);
    expect(() => assertKey("a".repeat(201))).toThrow("Broken invariant");
  });

  test("is compared by byte", () => {
    const sorted = ["A", "Z", "_", "a", "a-", "a.b", "a/b", "a0", "aa"];
    expect(sorted.toReversed().sort(compareKeys)).toEqual(sorted);
  });
});
