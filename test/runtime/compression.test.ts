import { Buffer } from "node:buffer";
import process from "node:process";
import { zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { compress, decompress } from "../../src/runtime/compression.ts";

const CONTENT = new TextEncoder().encode("what is written again and again. ".repeat(3000));

describe("decompress()", () => {
  test("gives back what was compressed, of any size", async () => {
    const random = crypto.getRandomValues(new Uint8Array(60_000));
    for (const level of [1, 3, 19]) {
      for (const size of [1, 17, 255, 256, 257, 65_791, 65_792, CONTENT.length]) {
        for (const whole of [CONTENT, random, new Uint8Array(CONTENT.length)]) {
          const content = whole.subarray(0, size);
          const back = await decompress(await compress(content, level), content.length);
          expect(Buffer.compare(back, content)).toBe(0);
        }
      }
    }
  });

  test("gives no more than it is allowed to, in however many frames", async () => {
    const frame = zstdCompressSync(CONTENT);
    const small = zstdCompressSync(CONTENT.subarray(0, 64));
    const many = Buffer.concat([small, ...Array.from({ length: 50 }, () => frame)]);
    for (const bomb of [frame, many]) {
      await expect(decompress(bomb, CONTENT.length - 1)).rejects.toThrow();
    }
    expect(await decompress(frame, CONTENT.length)).toHaveLength(CONTENT.length);
  });

  test("takes a gibibyte of a few kilobytes for what it is", async () => {
    const large = zstdCompressSync(new Uint8Array(64 << 20));
    const small = zstdCompressSync(new Uint8Array(64));
    const bomb = Buffer.concat([small, ...Array.from({ length: 16 }, () => large)]);
    const before = process.resourceUsage().maxRSS;
    await expect(decompress(bomb, 1 << 20)).rejects.toThrow();
    // In KiB under Linux. The bomb as a whole would take sixteen times as much.
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(128 << 10);
  });

  test("refuses what is cut off", async () => {
    const frame = zstdCompressSync(CONTENT);
    // Shorter is shorter than any header; then whoever asks finds the content too short.
    for (const length of [18, 40, frame.length - 1]) {
      await expect(decompress(frame.subarray(0, length), CONTENT.length)).rejects.toThrow();
    }
  });
});
