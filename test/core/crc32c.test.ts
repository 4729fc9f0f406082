import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c } from "../../src/core/crc32c.ts";

/** The definition, bit by bit. */
function bitwise(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f6_3b78 : 0);
  }
  return ~crc >>> 0;
}

describe("crc32c()", () => {
  // RFC 3720, B.4.
  test("gives the values of the iSCSI standard", () => {
    expect(crc32c(new TextEncoder().encode("123456789"))).toBe(0xe306_9283);
    expect(crc32c(new Uint8Array(32))).toBe(0x8a91_36aa);
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8_ab43);
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd_794e);
  });

  test("equals the definition, at any length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        expect(crc32c(bytes)).toBe(bitwise(bytes));
      }),
    );
  });

  test("goes on from the bytes before", () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.uint8Array(), (head, tail) => {
        expect(crc32c(tail, crc32c(head))).toBe(crc32c(Uint8Array.of(...head, ...tail)));
      }),
    );
  });
});
