import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { Digester } from "../../src/digests/digester.ts";

const KEY = Uint8Array.from({ length: 16 }, (_, i) => i);
const BLOCK = Uint8Array.from({ length: 4096 }, (_, i) => (i * 7) & 255);

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

describe("Digester", () => {
  // The same on every runtime.
  test("gives a digest of each block, and 0 for zeroes", () => {
    const bytes = new Uint8Array(4 * 4096);
    bytes.set(BLOCK, 4096);
    bytes.set(BLOCK, 3 * 4096);
    const digests = new Digester(KEY).blocks(bytes, 4096);
    expect(hex(digests)).toBe(
      "0000000000000000" + "c1ccd0132eeed429" + "0000000000000000" + "c1ccd0132eeed429",
    );
  });

  test("cannot be solved for what a block held, as the GMAC could", () => {
    const digester = new Digester(KEY);
    const blocks = [1, 2, 3].map((factor) => BLOCK.map((byte) => (byte * factor) & 255));
    blocks.push(BLOCK.map((_, i) => blocks.reduce((sum, block) => sum ^ (block[i] as number), 0)));
    const digests = blocks.map((block) => digester.blocks(block, 4096));
    const sum = digests[0]?.map((_, i) => digests.reduce((all, it) => all ^ (it[i] as number), 0));
    expect(hex(sum ?? new Uint8Array(8))).not.toBe("0".repeat(16));
  });

  test("changes with every bit of a block, and with the key", () => {
    const seen = new Set([hex(new Digester(KEY).blocks(BLOCK, 4096))]);
    const digester = new Digester(KEY);
    for (let bit = 0; bit < 8 * BLOCK.length; bit += 61) {
      const changed = BLOCK.slice();
      changed[bit >>> 3] = (changed[bit >>> 3] as number) ^ (1 << (bit & 7));
      seen.add(hex(digester.blocks(changed, 4096)));
    }
    seen.add(hex(new Digester(new Uint8Array(16)).blocks(BLOCK, 4096)));
    expect(seen.size).toBe(2 + Math.ceil((8 * BLOCK.length) / 61));
  });

  test("knows a page at another place for another one, and for no block", () => {
    const digester = new Digester(KEY);
    const block = new DataView(digester.blocks(BLOCK, 4096).buffer).getBigUint64(0);
    const pages = [0, 1, 2, 2 ** 22 - 1].map((index) => digester.page(BLOCK, index));
    expect(new Set([block, ...pages]).size).toBe(5);
    expect(digester.page(BLOCK, 1)).toBe(pages[1]);
  });

  test("tells larger blocks apart too", () => {
    const bytes = new Uint8Array(2 * 65_536).fill(1);
    bytes[2 * 65_536 - 1] = 2;
    const digests = new Digester(KEY).blocks(bytes, 65_536);
    expect(digests.length).toBe(16);
    expect(hex(digests.subarray(0, 8))).not.toBe(hex(digests.subarray(8)));
  });
});
