import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteReader, ByteWriter } from "../../src/core/bytes.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import {
  decodeIndexBody,
  decodeIndexHeader,
  encodeIndexBody,
  encodeIndexHeader,
} from "../../src/core/index_codec.ts";
import { FRAME_BLOCKS_MAX, WINDOW_BLOCKS } from "../../src/core/limits.ts";
import {
  decodePack,
  decodePackRecords,
  encodePackHeader,
  encodePackTrailer,
} from "../../src/core/pack.ts";
import {
  decodeRecords,
  encodeRecord,
  extentsOf,
  type FramePlace,
  placeOf,
  RECORD_KIND,
} from "../../src/core/records.ts";
import { NO_SEAL } from "../../src/core/seal.ts";
import { IbackupError } from "../../src/errors.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const BLOCKS = 2 ** 31;
const PACK = { name: "cd".repeat(32), sizeBytes: 16 << 20 };

interface Record {
  place: FramePlace | undefined;
  extents: BlockExtent[];
}

/** Runs of gap and length, laid one after another from `first`, as far as `blocksMax` blocks go. */
function layOut(first: number, runs: [number, number][], blocksMax: number): BlockExtent[] {
  const extents: BlockExtent[] = [];
  let at = first;
  let room = blocksMax;
  for (const [gap, length] of runs) {
    const blockCount = Math.min(length, room);
    if (blockCount === 0) break;
    extents.push({ firstBlock: at, blockCount });
    at += blockCount + gap;
    room -= blockCount;
  }
  return extents;
}

const runs = fc.array(fc.tuple(fc.integer({ min: 1, max: 900 }), fc.integer({ min: 1, max: 64 })), {
  minLength: 1,
  maxLength: 64,
});
const zeroRecord = fc
  .tuple(fc.nat(2 ** 30), runs)
  .map(([first, some]): Record => ({ place: undefined, extents: layOut(first, some, 2 ** 20) }));
const dataRecord = fc
  .tuple(fc.nat(400), fc.nat(WINDOW_BLOCKS - 65_536), runs, fc.nat(2 ** 23), fc.nat(2 ** 31))
  .map(([window, inWindow, some, offset, seed]): Record => {
    const digest = Uint8Array.from({ length: 16 }, (_, at) => (seed >> (at % 24)) & 0xff);
    const extents = layOut(window * WINDOW_BLOCKS + inWindow, some, FRAME_BLOCKS_MAX);
    const place = {
      codec: RECORD_KIND.zstd,
      pack: 0,
      offset: offset + 42,
      storedBytes: 77,
      digest,
    };
    return { place, extents };
  });
const recordList = fc.array(fc.oneof(zeroRecord, dataRecord), { maxLength: 12 });

function encodeAll(records: readonly Record[]): Uint8Array {
  const writer = new ByteWriter(1);
  for (const { place, extents } of records) encodeRecord(writer, place, extents);
  return writer.view();
}

function countsOf(records: readonly Record[]) {
  const extentCount = records.reduce((sum, { extents }) => sum + extents.length, 0);
  return { recordCount: records.length, extentCount };
}

function encodeIndexOf(records: readonly Record[]) {
  const body = encodeIndexBody([PACK], encodeAll(records));
  const counts = { ...countsOf(records), bodyBytes: body.length };
  const header = encodeIndexHeader({ blockBytes: 4096, packs: [PACK], seal: NO_SEAL, ...counts });
  return { bytes: new Uint8Array([...header, ...body]) };
}

/** What the codec makes of it: records, or the code of the error. */
function outcome(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    if (error instanceof IbackupError) return error.code;
    throw error;
  }
}

describe("records", () => {
  test("come back as they were encoded", () => {
    fc.assert(
      fc.property(recordList, (list) => {
        const reader = new ByteReader("x", encodeAll(list));
        const records = decodeRecords(reader, countsOf(list), BLOCKS);
        reader.expectEnd();
        const found = list.map((_, at): Record => {
          const isZero = records.kinds[at] === RECORD_KIND.zero;
          return {
            place: isZero ? undefined : placeOf(records, at),
            extents: extentsOf(records, at),
          };
        });
        expect(found).toEqual(list);
      }),
    );
  });

  test("give an error when cut at any byte, or when their number is another", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(zeroRecord, dataRecord), { minLength: 1, maxLength: 4 }),
        (list) => {
          const bytes = encodeAll(list);
          const counts = countsOf(list);
          const decode = (part: Uint8Array, { recordCount, extentCount }: typeof counts) =>
            outcome(() => {
              const reader = new ByteReader("x", part);
              decodeRecords(reader, { recordCount, extentCount }, BLOCKS);
              reader.expectEnd();
            });
          for (let cut = 0; cut < bytes.length; cut++) {
            expect(decode(bytes.subarray(0, cut), counts)).toBe("CORRUPT_DATA");
          }
          for (const by of [-1, 1]) {
            const more = { ...counts, extentCount: counts.extentCount + by };
            expect(decode(bytes, more)).toBe("CORRUPT_DATA");
            const records = { ...counts, recordCount: counts.recordCount + by };
            expect(decode(bytes, records)).toBe("CORRUPT_DATA");
          }
        },
      ),
    );
  });

  test("made of any bytes give an error or records that keep the rules", () => {
    const random = fc.uint8Array({ maxLength: 200 });
    fc.assert(
      fc.property(random, fc.nat(20), fc.nat(40), (bytes, recordCount, extentCount) => {
        const reader = new ByteReader("x", bytes);
        const found = outcome(() => decodeRecords(reader, { recordCount, extentCount }, 5000));
        if (found === "CORRUPT_DATA") return;
        const records = found as ReturnType<typeof decodeRecords>;
        for (let record = 0; record < records.count; record++) {
          let end = -1;
          for (const { firstBlock, blockCount } of extentsOf(records, record)) {
            expect(firstBlock).toBeGreaterThan(end);
            end = firstBlock + blockCount;
          }
          expect(end).toBeLessThanOrEqual(5000);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("claiming millions of records or extents are refused before memory is taken", () => {
    const reader = () => new ByteReader("x", new Uint8Array(10));
    for (const counts of [
      { recordCount: 2 ** 31, extentCount: 1 },
      { recordCount: 1, extentCount: 2 ** 31 },
    ]) {
      expect(outcome(() => decodeRecords(reader(), counts, BLOCKS))).toBe("CORRUPT_DATA");
    }
  });
});

describe("a varint", () => {
  test("comes back, up to 2^53 - 1", () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (value) => {
        const writer = new ByteWriter();
        writer.varint(value);
        expect(new ByteReader("x", writer.view()).varint()).toBe(value);
      }),
      { examples: [[0], [127], [128], [2 ** 32], [Number.MAX_SAFE_INTEGER]] },
    );
  });

  test("is refused when it is too large or longer than it needs to be", () => {
    for (const bytes of [[0x80, 0x00], Array(8).fill(0xff), [...Array(9).fill(0x80), 1]]) {
      const reader = new ByteReader("x", Uint8Array.from(bytes));
      expect(outcome(() => reader.varint())).toBe("CORRUPT_DATA");
    }
  });
});

describe("an index object", () => {
  const frame: Record = {
    place: { codec: 2, pack: 0, offset: 42, storedBytes: 100, digest: new Uint8Array(16).fill(7) },
    extents: [{ firstBlock: 70, blockCount: 3 }],
  };
  const decode = (bytes: Uint8Array) => {
    const { header, body } = decodeIndexHeader("indexes/x", bytes);
    const stored = { body, blockCount: 1000, packContext: new Uint8Array() };
    return decodeIndexBody("indexes/x", header, stored);
  };

  test("comes back with its packs", () => {
    const { bytes } = encodeIndexOf([frame]);
    expect(decode(bytes).packs).toEqual([PACK]);
    expect(extentsOf(decode(bytes).records, 0)).toEqual(frame.extents);
  });

  test("is refused when cut at any byte, and when anything follows", () => {
    const { bytes } = encodeIndexOf([frame]);
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(outcome(() => decode(bytes.subarray(0, cut)))).toBe("CORRUPT_DATA");
    }
    expect(outcome(() => decode(new Uint8Array([...bytes, 0])))).toBe("CORRUPT_DATA");
  });

  test("of a newer format version is told apart from a damaged one", () => {
    const { bytes } = encodeIndexOf([frame]);
    bytes[6] = 2;
    expect(outcome(() => decode(bytes))).toBe("REPOSITORY_FORMAT");
    bytes[6] = 0;
    expect(outcome(() => decode(bytes))).toBe("CORRUPT_DATA");
  });

  const misplaced: [string, Partial<FramePlace>][] = [
    ["in a pack that it does not list", { pack: 1 }],
    ["in the header of a pack", { offset: 41 }],
    ["in the trailer of a pack", { offset: PACK.sizeBytes - 139 }],
    ["that is larger than its blocks", { storedBytes: 3 * 4096 }],
    ["that is stored as it is but has another size", { codec: 1, storedBytes: 4096 }],
  ];
  test.each(misplaced)("is refused when it has a frame %s", (_, fields) => {
    const place = { ...frame.place!, ...fields };
    expect(outcome(() => decode(encodeIndexOf([{ ...frame, place }]).bytes))).toBe("CORRUPT_DATA");
  });

  test("is refused when it speaks of a block beyond the disk", () => {
    const extents = [{ firstBlock: 999, blockCount: 2 }];
    const { bytes } = encodeIndexOf([{ place: undefined, extents }]);
    expect(outcome(() => decode(bytes))).toBe("CORRUPT_DATA");
  });
});

describe("a frame", () => {
  const place: FramePlace = {
    codec: 2,
    pack: 0,
    offset: 8,
    storedBytes: 9,
    digest: new Uint8Array(16),
  };

  test("is never encoded, and never decoded, when it crosses a window or is too large", () => {
    for (const extent of [
      { firstBlock: WINDOW_BLOCKS - 1, blockCount: 2 },
      { firstBlock: 0, blockCount: FRAME_BLOCKS_MAX + 1 },
    ]) {
      expect(() => encodeRecord(new ByteWriter(), place, [extent])).toThrow(/up to 64 blocks/);
      const writer = new ByteWriter();
      encodeRecord(writer, undefined, [extent]);
      const crossing = new ByteWriter();
      crossing.u8(RECORD_KIND.zstd);
      for (const value of [0, 8, 9]) crossing.varint(value);
      crossing.bytes(place.digest);
      crossing.bytes(writer.view().subarray(1));
      const reader = new ByteReader("x", crossing.view());
      const counts = { recordCount: 1, extentCount: 1 };
      expect(outcome(() => decodeRecords(reader, counts, BLOCKS))).toBe("CORRUPT_DATA");
    }
  });
});

describe("a pack", () => {
  function encodePack(frames: readonly number[]): Uint8Array {
    const pack = new ByteWriter();
    const section = new ByteWriter();
    pack.bytes(encodePackHeader(NO_SEAL));
    for (const [number, storedBytes] of frames.entries()) {
      const place = { codec: RECORD_KIND.zstd, pack: 0, storedBytes, digest: new Uint8Array(16) };
      const extents = [{ firstBlock: number * 64, blockCount: 64 }];
      encodeRecord(section, { ...place, offset: pack.length }, extents);
      pack.bytes(new Uint8Array(storedBytes).fill(number + 1));
    }
    pack.bytes(section.view());
    const counts = { recordCount: frames.length, extentCount: frames.length, blockBytes: 4096 };
    pack.bytes(encodePackTrailer(counts, section.view(), sha256));
    return pack.view();
  }

  function decode(bytes: Uint8Array) {
    const pack = decodePack("packs/x", bytes, sha256);
    return decodePackRecords("packs/x", pack, pack.section);
  }

  test("tells its records without any index object", () => {
    const { blockBytes } = decodePack("packs/x", encodePack([10, 20, 30]), sha256);
    const records = decode(encodePack([10, 20, 30]));
    expect(blockBytes).toBe(4096);
    expect([...records.offsets]).toEqual([42, 52, 72]);
    expect([...records.storedBytes]).toEqual([10, 20, 30]);
  });

  test("is refused when cut at any byte", () => {
    const bytes = encodePack([10, 20, 30]);
    for (let cut = 0; cut < bytes.length; cut++) {
      expect(outcome(() => decode(bytes.subarray(0, cut)))).toBe("CORRUPT_DATA");
    }
  });

  test("is refused with any bit of its header, records or trailer flipped", () => {
    const bytes = encodePack([10, 20, 30]);
    for (let at = 0; at < bytes.length; at++) {
      // Frames are under the digests of their records.
      if (at >= 42 && at < 102) continue;
      const flipped = bytes.slice();
      flipped[at] = flipped[at]! ^ 0x10;
      const code = outcome(() => decode(flipped));
      // Salt and block size are under the pack's name only.
      if (at >= 10 && at < 42) continue;
      const isBlockBytes = at >= bytes.length - 28 && at < bytes.length - 24;
      if (!isBlockBytes) expect(["CORRUPT_DATA", "REPOSITORY_FORMAT"]).toContain(code);
    }
  });
});
