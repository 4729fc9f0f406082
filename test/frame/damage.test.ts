import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeFrame, type Frame, FrameReader } from "../../src/frame/codec.ts";

const FRAMES_PER_RUN = 100;
const RUNS = 1000;
const NEWLINE = 0x0a;

type Damage = "none" | "flip" | "cut" | "drop" | "insert" | "newline";

const plan = fc.record({
  firstBlock: fc.maxSafeNat(),
  damage: fc.constantFrom<Damage>("none", "none", "flip", "cut", "drop", "insert", "newline"),
  /** Where in the frame, as a fraction. */
  position: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
  value: fc.integer({ min: 1, max: 255 }),
});

type Plan = typeof plan extends fc.Arbitrary<infer T> ? T : never;

function frameOf(request: number, { firstBlock }: Plan): Frame {
  const tail = [{ firstBlock, blockCount: request + 1 }];
  return { name: "blocks", request, fields: { slot: request % 64, reserved: 0 }, tail };
}

function damaged(bytes: Uint8Array, { damage, position, value }: Plan): number[] {
  const at = Math.floor(position * bytes.length);
  const result = [...bytes];
  if (damage === "flip") result[at] = (result[at] ?? 0) ^ value;
  if (damage === "cut") result.length = at;
  if (damage === "drop") result.splice(at, 1 + (value % 8));
  if (damage === "insert") result.splice(at, 0, value);
  if (damage === "newline") result.splice(at, 0, NEWLINE);
  return result;
}

// Methodology: every frame has its own number. What decodes must be the very frame of that number,
// and a frame that was left whole, behind a newline, must decode. 100,000 frames in all.
test("damage never makes up a block number, and the next whole frame is always found", () => {
  const runs = fc.array(plan, { minLength: FRAMES_PER_RUN, maxLength: FRAMES_PER_RUN });
  fc.assert(
    fc.property(runs, (plans) => {
      const sent = plans.map((each, index) => frameOf(index, each));
      const stream: number[] = [];
      const mustArrive = new Set<number>();
      for (const [index, frame] of sent.entries()) {
        const each = plans[index] as Plan;
        const follows = stream.length === 0 || stream.at(-1) === NEWLINE;
        if (each.damage === "none" && follows) mustArrive.add(index);
        stream.push(...damaged(encodeFrame(frame), each));
      }

      for (const reading of new FrameReader().push(Uint8Array.from(stream))) {
        if (reading.kind === "damage") continue;
        expect(reading.frame).toEqual(sent[reading.frame.request]);
        mustArrive.delete(reading.frame.request);
      }
      expect([...mustArrive]).toEqual([]);
    }),
    { numRuns: RUNS },
  );
});
