import type { Frame } from "../../src/frame/codec.ts";

/** The frames in frames.golden, in their order; test/helper/frame_test.c has the same list. */
export function goldenFrames(): Frame[] {
  return [
    { name: "helloRequest", request: 1, fields: {} },
    {
      name: "attachRequest",
      request: 2,
      fields: {
        major: 259,
        minor: 10,
        startSector: 2048,
        sectorCount: 2 ** 33,
        blockShift: 3,
        hooks: 3,
        bioBased: 0,
        reserved: 0,
      },
    },
    {
      name: "collectRequest",
      request: 10,
      fields: {
        slot: 5,
        reserved: 0,
        sessionHigh: 0x0a0a_0a0a_0a0a_0a0an,
        sessionLow: 2n ** 64n - 1n,
      },
      tail: "/run/ibackup/a\0/run/ibackup/b\nc",
    },
    { name: "error", request: 3, fields: { code: 11, errno: 28 }, tail: "no space" },
    {
      name: "bitmap",
      request: 4,
      fields: { slot: 63, firstWord: 10 },
      tail: words([1n, 0n, 0x0a0a_0a0a_0a0a_0a0an, 1n << 63n]),
    },
    {
      name: "blocks",
      request: 0,
      fields: { slot: 0, reserved: 0 },
      tail: [
        { firstBlock: 0, blockCount: 1 },
        { firstBlock: 2 ** 40, blockCount: 2 ** 31 },
      ],
    },
    {
      name: "freezeRequest",
      request: 12,
      fields: { limitMs: 10_000, reserved: 0 },
      tail: "42 /srv/data\x0028 /",
    },
    {
      name: "freezeOutcome",
      request: 12,
      fields: { index: 1, outcome: 4, errno: 16, reserved: 0, elapsedUs: 2 ** 33 },
    },
    { name: "thawed", request: 13, fields: { frozenUs: 2 ** 40, expired: 1, reserved: 0 } },
    {
      name: "drainRequest",
      request: 14,
      fields: { major: 254, minor: 10, timeoutMs: 1000, reserved: 0 },
    },
    // Around the longest run that one COBS code can announce.
    ...Array.from({ length: 13 }, (_, index) => textOf(246 + index)),
    {
      name: "bitmap",
      request: 0xffff_ffff,
      fields: { slot: 1, firstWord: 0xffff_e000 },
      tail: words(Array.from({ length: 8191 }, (_, index) => noise(index))),
    },
  ];
}

function textOf(length: number): Frame {
  return { name: "syncRequest", request: length, fields: {}, tail: "x".repeat(length) };
}

function noise(index: number): bigint {
  return BigInt.asUintN(64, BigInt(index) * 0x9e37_79b9_7f4a_7c15n);
}

function words(values: bigint[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values).buffer);
}
