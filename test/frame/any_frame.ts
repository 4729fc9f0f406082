import fc from "fast-check";
import type { Frame, FrameName } from "../../src/frame/codec.ts";
import { type FieldType, FRAMES, type FrameLayout, type Tail } from "../../src/frame/layout.ts";

const LAYOUTS: Readonly<Record<string, FrameLayout>> = FRAMES;
const U32_MAX = 0xffff_ffff;

/** Every kind of frame, with any values. Tails are short. */
export function anyFrame(): fc.Arbitrary<Frame> {
  return fc.constantFrom(...(Object.keys(FRAMES) as FrameName[])).chain(frameNamed);
}

function frameNamed(name: FrameName): fc.Arbitrary<Frame> {
  const { fields, tail } = LAYOUTS[name] as FrameLayout;
  const parts: Record<string, fc.Arbitrary<unknown>> = {
    name: fc.constant(name),
    request: u32(),
    fields: anyFields(fields),
  };
  if (tail !== undefined) parts["tail"] = anyTail(tail);
  // Made from the same table as the types of Frame.
  return fc.record(parts, { noNullPrototype: true }) as unknown as fc.Arbitrary<Frame>;
}

function u32(): fc.Arbitrary<number> {
  return fc.integer({ min: 0, max: U32_MAX });
}

function anyFields(fields: Readonly<Record<string, FieldType>>) {
  const values = {
    u32: u32(),
    u64: fc.maxSafeNat(),
    bits64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  };
  return fc.record(
    Object.fromEntries(Object.entries(fields).map(([key, type]) => [key, values[type]])),
    { noNullPrototype: true },
  );
}

function anyTail(tail: Tail): fc.Arbitrary<unknown> {
  if (tail === "text") return fc.string({ unit: "grapheme", maxLength: 300 });
  if (tail === "words") {
    return fc
      .bigUint64Array({ maxLength: 100 })
      .map((words) => new Uint8Array(words.buffer, words.byteOffset, words.byteLength));
  }
  return fc.array(anyFields(tail), { maxLength: 50 });
}
