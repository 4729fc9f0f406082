import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Counts, type CountsAtFirst, findMissed } from "../../src/core/self_audit.ts";

const ZERO: CountsAtFirst = {
  kernel: { sectorsWritten: 0, sectorsDiscarded: 0 },
  hooks: { sectorsIssued: 0, sectorsCompleted: 0 },
  isExact: true,
};

/** A write or discard, and which of its ends the hooks saw. */
interface Write {
  sectors: number;
  isDiscard: boolean;
  begin: boolean;
  end: boolean;
}

function countsAfter(writes: readonly Write[]): Counts {
  const total = (of: (write: Write) => number): number =>
    writes.reduce((sum, write) => sum + of(write), 0);
  return {
    kernel: {
      sectorsWritten: total(({ isDiscard, sectors }) => (isDiscard ? 0 : sectors)),
      sectorsDiscarded: total(({ isDiscard, sectors }) => (isDiscard ? sectors : 0)),
    },
    hooks: {
      sectorsIssued: total(({ begin, sectors }) => (begin ? sectors : 0)),
      sectorsCompleted: total(({ end, sectors }) => (end ? sectors : 0)),
    },
  };
}

const write: fc.Arbitrary<Write> = fc.record({
  sectors: fc.integer({ min: 1, max: 4096 }),
  isDiscard: fc.boolean(),
  begin: fc.boolean(),
  end: fc.boolean(),
});

describe("findMissed()", () => {
  test("finds nothing when both ends of every write were seen", () => {
    fc.assert(
      fc.property(fc.array(write), (writes) => {
        const seen = writes.map((each) => ({ ...each, begin: true, end: true }));
        expect(findMissed(ZERO, countsAfter(seen))).toEqual({ unseen: 0, ends: 0 });
      }),
    );
  });

  test("takes a write of which one end was missed for no taint, and one of both for one", () => {
    const seen = { sectors: 8, isDiscard: false, begin: true, end: true };
    const find = (...writes: Write[]) => findMissed(ZERO, countsAfter([seen, ...writes]));
    expect(find({ ...seen, begin: false })).toEqual({ unseen: 0, ends: 0 });
    expect(find({ ...seen, end: false })).toEqual({ unseen: 0, ends: 8 });
    expect(find({ ...seen, begin: false, end: false })).toEqual({ unseen: 8, ends: 8 });
  });

  test("never misses a write of which neither end was seen, nor an end that was not seen", () => {
    fc.assert(
      fc.property(fc.array(write), (writes) => {
        const { unseen, ends } = findMissed(ZERO, countsAfter(writes));
        const neither = writes.filter(({ begin, end }) => !begin && !end);
        const noEnd = writes.filter(({ end }) => !end);
        const sum = (of: Write[]): number => of.reduce((all, { sectors }) => all + sectors, 0);
        expect(unseen).toBeGreaterThanOrEqual(sum(neither));
        expect(ends).toBe(sum(noEnd));
      }),
    );
  });

  test("takes each missed end for a taint where writes were in flight when the count began", () => {
    const first = { ...ZERO, isExact: false };
    const seen = { sectors: 8, isDiscard: false, begin: true, end: true };
    // One that began before, and ended unseen, while another has begun since.
    const now = countsAfter([seen, { ...seen, begin: false, end: false }]);
    now.hooks.sectorsIssued += 8;
    expect(findMissed(ZERO, now)).toEqual({ unseen: 0, ends: 8 });
    expect(findMissed(first, now)).toEqual({ unseen: 8, ends: 8 });
  });

  test("counts from a moment on, and never less than nothing: hooks may see more", () => {
    const later: CountsAtFirst = {
      kernel: { sectorsWritten: 24, sectorsDiscarded: 0 },
      hooks: { sectorsIssued: 40, sectorsCompleted: 48 },
      isExact: true,
    };
    expect(findMissed(ZERO, later)).toEqual({ unseen: 0, ends: 0 });
    expect(findMissed(later, later)).toEqual({ unseen: 0, ends: 0 });
  });
});
