import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { crc32c } from "../../src/core/crc32c.ts";
import { encodeFrame, type Frame, FrameReader, type Reading } from "../../src/frame/codec.ts";
import { FRAME_VERSION, FRAMES, PAYLOAD_BYTES_MAX } from "../../src/frame/layout.ts";
import { stuff, unstuff } from "../../src/frame/stuffing.ts";
import { anyFrame } from "./any_frame.ts";
import { goldenFrames } from "./golden.ts";

const golden = new Uint8Array(readFileSync(new URL("frames.golden", import.meta.url)));

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function framesOf(readings: readonly Reading[]): Frame[] {
  return readings.map((reading) => {
    if (reading.kind === "damage") throw new Error(`damage: ${reading.reason}`);
    return reading.frame;
  });
}

/** The bytes of a frame whose header fields are overwritten, its checksum made anew. */
function forged(frame: Frame, changes: { type?: number; version?: number; length?: number }) {
  const raw = unstuff(encodeFrame(frame).slice(0, -1)) as Uint8Array;
  const view = new DataView(raw.buffer, raw.byteOffset);
  if (changes.length !== undefined) view.setUint32(0, changes.length, true);
  if (changes.type !== undefined) view.setUint32(4, changes.type, true);
  if (changes.version !== undefined) view.setUint32(8, changes.version, true);
  view.setUint32(raw.length - 4, crc32c(raw.subarray(0, raw.length - 4)), true);
  return stuff(raw);
}

function damageOf(bytes: Uint8Array): string {
  const readings = new FrameReader().push(bytes);
  expect(readings).toHaveLength(1);
  return readings[0]?.kind === "damage" ? readings[0].reason : "none";
}

describe("encodeFrame()", () => {
  test("writes the bytes that the helper writes", () => {
    expect(concat(goldenFrames().map(encodeFrame))).toEqual(golden);
  });

  test("leaves one newline, at the end", () => {
    fc.assert(
      fc.property(anyFrame(), (frame) => {
        const bytes = encodeFrame(frame);
        expect(bytes.indexOf(0x0a)).toBe(bytes.length - 1);
      }),
    );
  });

  test("refuses a value that its field cannot hold", () => {
    const lost = (events: number): Frame => ({ name: "lost", request: 0, fields: { events } });
    expect(() => encodeFrame(lost(-1))).toThrow("events fits in u64");
    expect(() => encodeFrame({ ...lost(1), request: 2 ** 32 })).toThrow("request fits in u32");
  });

  test("refuses a payload longer than any frame", () => {
    const tail = new Uint8Array(PAYLOAD_BYTES_MAX);
    const frame: Frame = { name: "bitmap", request: 0, fields: { slot: 0, firstWord: 0 }, tail };
    expect(() => encodeFrame(frame)).toThrow("a payload fits in a frame");
  });
});

describe("FrameReader", () => {
  test("reads the bytes that the helper writes", () => {
    expect(framesOf(new FrameReader().push(golden))).toEqual(goldenFrames());
  });

  test("gives back every frame, wherever the stream is cut into pieces", () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(anyFrame(), { maxLength: 10 }), cuts, (frames, lengths) => {
        const stream = concat(frames.map(encodeFrame));
        const reader = new FrameReader();
        const readings: Reading[] = [];
        for (let at = 0, turn = 0; at < stream.length; turn++) {
          const length = lengths[turn % lengths.length] ?? 1;
          readings.push(...reader.push(stream.subarray(at, at + length)));
          at += length;
        }
        expect(framesOf([...readings, ...reader.end()])).toEqual(frames);
      }),
    );
  });

  const hello: Frame = { name: "helloRequest", request: 7, fields: {} };

  test("names each kind of damage", () => {
    expect(damageOf(Uint8Array.of(0x0a))).toBe("empty");
    expect(damageOf(stuff(new Uint8Array(3)))).toBe("bad length");
    expect(damageOf(Uint8Array.of(0xff, 0x01, 0x0a))).toBe("bad stuffing");
    expect(damageOf(forged(hello, { version: FRAME_VERSION + 1 }))).toBe("another version");
    expect(damageOf(forged(hello, { type: 99 }))).toBe("unknown type");
    expect(damageOf(forged(hello, { length: 1 }))).toBe("bad length");
    expect(damageOf(forged(hello, { type: FRAMES.attachRequest.type }))).toBe("bad payload");
    const sync: Frame = { name: "syncRequest", request: 0, fields: {}, tail: "abc" };
    const flipped = encodeFrame(sync);
    const letter = flipped.indexOf("b".charCodeAt(0) ^ 0x0a);
    flipped[letter] = "c".charCodeAt(0) ^ 0x0a;
    expect(damageOf(flipped)).toBe("bad checksum");
  });

  test("refuses a number that TypeScript cannot hold exactly", () => {
    const lost: Frame = { name: "lost", request: 0, fields: { events: Number.MAX_SAFE_INTEGER } };
    expect(framesOf(new FrameReader().push(encodeFrame(lost)))).toEqual([lost]);
    const raw = unstuff(encodeFrame(lost).slice(0, -1)) as Uint8Array;
    const view = new DataView(raw.buffer, raw.byteOffset);
    view.setBigUint64(16, 2n ** 53n, true);
    view.setUint32(raw.length - 4, crc32c(raw.subarray(0, raw.length - 4)), true);
    expect(damageOf(stuff(raw))).toBe("bad payload");
  });

  test("skips bytes without a newline that are longer than any frame", () => {
    const reader = new FrameReader();
    for (let times = 0; times < 20; times++) {
      expect(reader.push(new Uint8Array(10_000).fill(0x41))).toEqual([]);
    }
    expect(reader.push(Uint8Array.of(0x0a))).toEqual([{ kind: "damage", reason: "too long" }]);
    expect(framesOf(reader.push(encodeFrame(hello)))).toEqual([hello]);
  });

  test("reports a frame that the end of the stream cut off", () => {
    const reader = new FrameReader();
    expect(reader.push(encodeFrame(hello).subarray(0, 5))).toEqual([]);
    expect(reader.end()).toEqual([{ kind: "damage", reason: "cut off" }]);
    expect(reader.end()).toEqual([]);
  });
});
