import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeKeySlot, encodeKeySlot, isRecipient, keySlotKey } from "../../src/core/key_slot.ts";
import { IbackupError } from "../../src/errors.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const RECIPIENT = `age1${"q".repeat(58)}`;

const slot = {
  repositoryId: "6f1f3a52-9e6e-4b53-9a0d-6a1c4f5e8a11",
  edition: 3,
  slotId: "0123456789abcdef",
  recipient: RECIPIENT,
  label: "admin",
  createdAt: "2026-11-22T00:00:00.000Z",
  repositoryRecipient: RECIPIENT,
  wrapped: "AAAA",
  passphraseIdentity: null,
};
const object = keySlotKey(slot);
const bytes = encodeKeySlot(slot, sha256);

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof IbackupError) return error.code;
    throw error;
  }
}

describe("a key document", () => {
  test("comes back", () => {
    expect(object).toBe("keys/0000000003/0123456789abcdef");
    expect(decodeKeySlot({ object, bytes }, sha256)).toEqual(slot);
  });

  test("is refused with any bit flipped, cut anywhere, or in the place of another", () => {
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const flipped = bytes.slice();
        flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
        const code = codeOf(() => decodeKeySlot({ object, bytes: flipped }, sha256));
        expect(["CORRUPT_DATA", "REPOSITORY_FORMAT"]).toContain(code);
        const cut = bytes.subarray(0, at);
        expect(codeOf(() => decodeKeySlot({ object, bytes: cut }, sha256))).toBe("CORRUPT_DATA");
      }),
    );
    const other = keySlotKey({ ...slot, edition: 4 });
    expect(codeOf(() => decodeKeySlot({ object: other, bytes }, sha256))).toBe("CORRUPT_DATA");
  });
});

test("isRecipient() knows a public key from an identity", () => {
  expect(isRecipient(RECIPIENT)).toBe(true);
  for (const text of ["age1", `${RECIPIENT}q`, "AGE-SECRET-KEY-1QQQQ", `age1${"b".repeat(58)}`]) {
    expect(isRecipient(text)).toBe(false);
  }
});
