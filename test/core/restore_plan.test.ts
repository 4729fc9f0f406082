import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ByteReader, ByteWriter } from "../../src/core/bytes.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import type { DecodedIndex } from "../../src/core/index_codec.ts";
import { WINDOW_BLOCKS } from "../../src/core/limits.ts";
import { decodeRecords, encodeRecord } from "../../src/core/records.ts";
import { type LostIndex, RestorePlanner } from "../../src/core/restore_plan.ts";

const BLOCKS = 600;

interface Layer {
  kind: "data" | "zero" | "lost";
  extents: BlockExtent[];
}

const extents = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 1, max: 20 })), {
    minLength: 1,
    maxLength: 6,
  })
  .map((runs) => {
    let at = -1;
    let room = 64;
    return runs.flatMap(([gap, length]): BlockExtent[] => {
      const firstBlock = at + gap;
      const blockCount = Math.min(length, room, BLOCKS - firstBlock);
      if (blockCount <= 0) return [];
      room -= blockCount;
      at = firstBlock + blockCount;
      return [{ firstBlock, blockCount }];
    });
  });
const layer = fc.record<Layer>({ kind: fc.constantFrom("data", "data", "zero", "lost"), extents });

function indexOf(number: number, { kind, extents }: Layer): DecodedIndex {
  const writer = new ByteWriter();
  const digest = new Uint8Array(16);
  // Two layers share a pack, so that reads of both can merge.
  const offset = 8 + (number % 2) * 100;
  const place = { codec: 2 as const, pack: 0, offset, storedBytes: 100, digest };
  encodeRecord(writer, kind === "zero" ? undefined : place, extents);
  const counts = { recordCount: 1, extentCount: extents.length };
  const records = decodeRecords(new ByteReader("x", writer.view()), counts, 2 ** 31);
  const name = `pack ${Math.floor(number / 2)}`;
  return { object: `index ${number}`, packs: [{ name, sizeBytes: 1000 }], records };
}

/** What became of each block, as text: the obviously right way. */
function naive(layers: readonly Layer[], wanted: readonly BlockExtent[] | undefined): string[] {
  const blocks = Array<string>(BLOCKS).fill("missing");
  for (const [number, { kind, extents }] of layers.entries()) {
    let inFrame = 0;
    for (const { firstBlock, blockCount } of extents) {
      for (let block = firstBlock; block < firstBlock + blockCount; block++) {
        const data = `pack ${Math.floor(number / 2)} at ${8 + (number % 2) * 100} block ${inFrame++}`;
        blocks[block] = { data, zero: "zero", lost: `lost ${number}` }[kind];
      }
    }
  }
  if (!wanted) return blocks;
  const isWanted = (block: number) =>
    wanted.some((one) => block >= one.firstBlock && block < one.firstBlock + one.blockCount);
  return blocks.map((what, block) => (isWanted(block) ? what : "unwanted"));
}

function planned(
  layers: readonly Layer[],
  wanted: readonly BlockExtent[] | undefined,
): { blocks: string[]; frames: string[] } {
  const planner = new RestorePlanner();
  planner.begin({ firstBlock: 0, blockCount: BLOCKS });
  for (const [number, one] of layers.entries()) {
    if (one.kind !== "lost") planner.apply(indexOf(number, one));
    else {
      const index: LostIndex = { object: `${number}`, reason: "test" };
      for (const extent of one.extents) planner.applyLost(index, extent);
    }
  }
  if (wanted) planner.keepOnly(wanted);
  const blocks = Array<string>(BLOCKS).fill("unwanted");
  const frames: string[] = [];
  const set = ({ firstBlock, blockCount }: BlockExtent, what: (at: number) => string) => {
    for (let at = 0; at < blockCount; at++) {
      expect(blocks[firstBlock + at]).toBe("unwanted");
      blocks[firstBlock + at] = what(at);
    }
  };
  for (const step of planner.steps()) {
    if (step.kind === "zero" || step.kind === "missing") set(step, () => step.kind);
    if (step.kind === "lost") set(step, () => `lost ${step.index.object}`);
    if (step.kind !== "request") continue;
    let end = step.offset;
    for (const { place, wanted: runs } of step.frames) {
      expect(place.offset).toBe(end);
      end += place.storedBytes;
      const where = `${step.pack.name} at ${place.offset}`;
      frames.push(where);
      for (const run of runs) set(run, (at) => `${where} block ${run.blockInFrame + at}`);
    }
    expect(end).toBe(step.offset + step.length);
  }
  return { blocks, frames };
}

describe("RestorePlanner", () => {
  test("gives each block to the newest that speaks of it, and each frame once", () => {
    const layers = fc.array(
      layer.filter((one) => one.extents.length > 0),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(layers, fc.option(extents, { nil: undefined }), (all, wanted) => {
        const { blocks, frames } = planned(all, wanted);
        expect(blocks).toEqual(naive(all, wanted));
        expect(new Set(frames).size).toBe(frames.length);
      }),
      { numRuns: 500 },
    );
  });

  test("has one step for a window of zeroes, however many there are", () => {
    const planner = new RestorePlanner();
    const whole = { kind: "zero" as const, extents: [{ firstBlock: 0, blockCount: 2 ** 30 }] };
    for (let window = 0; window < 256; window++) {
      const range = { firstBlock: window * WINDOW_BLOCKS, blockCount: WINDOW_BLOCKS };
      planner.begin(range);
      planner.apply(indexOf(0, whole));
      expect([...planner.steps()]).toEqual([{ kind: "zero", ...range }]);
    }
  });

  test("leaves out the records of other windows", () => {
    const planner = new RestorePlanner();
    planner.begin({ firstBlock: WINDOW_BLOCKS, blockCount: 10 });
    planner.apply(indexOf(0, { kind: "data", extents: [{ firstBlock: 0, blockCount: 5 }] }));
    const extents = [{ firstBlock: WINDOW_BLOCKS + 2, blockCount: 5 }];
    planner.apply(indexOf(1, { kind: "data", extents }));
    const kinds = [...planner.steps()].map((step) => step.kind);
    expect(kinds).toEqual(["missing", "missing", "request"]);
  });
});
