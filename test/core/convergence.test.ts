import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  type Bounds,
  type Facts,
  learnFreezeMs,
  learnSpeed,
  planNext,
  plannedBudgetMs,
  planWindow,
  type ReadSpeed,
  type ReadWork,
  readingMs,
  type Step,
  type Stretch,
  UNMEASURED_FREEZE_MS,
  UNMEASURED_SPEED,
} from "../../src/core/convergence.ts";

const BLOCK_BYTES = 4096;
const BOUNDS: Bounds = {
  canFreeze: true,
  limitMs: 10_000,
  budgetMs: 200,
  passesMax: 10,
  memoryBytes: 64 << 20,
  blockBytes: BLOCK_BYTES,
  feedsItself: false,
};

/** A disk and who writes to it: random blocks of a working set, at an even rate. */
interface World {
  workingSetBlocks: number;
  firstBlocks: number;
  writesPerMs: number;
  /** The disk's own figures, which the planner has to find out. */
  speed: ReadSpeed;
  freezeMs: number;
  /** Bytes that can be handed over in a millisecond, while the writer runs. */
  storedPerMs: number;
}

interface Outcome {
  end: "frozen" | "quiet" | "gave up";
  freezesMs: number[];
  steps: Step["kind"][];
  elapsedMs: number;
}

/**
 * Methodology: the loop of a flush on a disk that is three formulas. Blocks that are written while
 * others are read are expected values, so a run is the same each time.
 */
class Simulation {
  readonly #world: World;
  readonly #bounds: Bounds;
  #rest: number;
  #speed = UNMEASURED_SPEED;
  #freezeMs = UNMEASURED_FREEZE_MS;
  #isClosingIn = false;
  readonly #stretches: Stretch[] = [];
  readonly #outcome: Outcome = { end: "gave up", freezesMs: [], steps: [], elapsedMs: 0 };

  constructor(world: World, bounds: Bounds) {
    this.#world = world;
    this.#bounds = bounds;
    this.#rest = world.firstBlocks;
  }

  run(): Outcome {
    for (;;) {
      const step = planNext(this.#facts(), this.#bounds);
      this.#outcome.steps.push(step.kind);
      if (this.#outcome.steps.length > 2000) throw new Error("it does not end");
      if (step.kind === "give up") return this.#outcome;
      if (step.kind === "done") return { ...this.#outcome, end: "quiet" };
      if (step.kind === "pass") this.#pass();
      else if (step.kind === "close in") this.#isClosingIn = true;
      else if (this.#freeze(step)) return { ...this.#outcome, end: "frozen" };
    }
  }

  #facts(): Facts {
    const rest = workOf(this.#rest, this.#world);
    const stretches = this.#stretches;
    const [speed, freezeMs, isClosingIn] = [this.#speed, this.#freezeMs, this.#isClosingIn];
    return { rest, speed, freezeMs, stretches, failedFreezes: 0, isClosingIn };
  }

  #pass(): void {
    const before = this.#rest;
    const work = workOf(before, this.#world);
    const readMs = readingMs(this.#world.speed, work);
    const storeMs = this.#isClosingIn ? 0 : work.bytes / this.#world.storedPerMs;
    if (this.#isClosingIn) this.#speed = learnSpeed(this.#speed, work, readMs);
    // What nothing can compress is stored on the disk once more.
    this.#rest = this.#bounds.feedsItself && !this.#isClosingIn ? before : 0;
    this.#writeFor(Math.max(readMs, storeMs));
    this.#stretches.push({ kind: "pass", blocksBefore: before, blocksAfter: this.#rest });
  }

  /** @returns True when all was read. */
  #freeze(step: Extract<Step, { kind: "freeze" | "brake" }>): boolean {
    const before = this.#rest;
    this.#freezeMs = learnFreezeMs(this.#freezeMs, this.#world.freezeMs);
    const { untilMs } = planWindow(this.#facts(), this.#bounds, this.#world.freezeMs);
    const work = workOf(this.#rest, this.#world);
    const needMs = readingMs(this.#world.speed, work);
    const room = Math.min(1, this.#bounds.memoryBytes / Math.max(1, work.bytes));
    const share = Math.min(room, Math.max(0, (untilMs - this.#world.freezeMs) / needMs));
    const readMs = share * needMs;
    this.#outcome.freezesMs.push(this.#world.freezeMs + readMs);
    this.#outcome.elapsedMs += this.#world.freezeMs + readMs;
    this.#speed = learnSpeed(this.#speed, scaled(work, share), readMs);
    this.#rest -= Math.ceil(before * share);
    if (this.#rest <= 0) return true;
    const thawedMs = step.kind === "brake" ? step.thawedMs : 50;
    const storeMs = (share * work.bytes) / this.#world.storedPerMs - step.budgetMs;
    this.#writeFor(Math.max(thawedMs, storeMs));
    this.#stretches.push({ kind: "brake", blocksBefore: before, blocksAfter: this.#rest });
    return false;
  }

  #writeFor(ms: number): void {
    const { workingSetBlocks, writesPerMs } = this.#world;
    this.#outcome.elapsedMs += ms;
    const clean = Math.max(0, workingSetBlocks - this.#rest);
    const written = clean * (1 - Math.exp((-writesPerMs * ms) / workingSetBlocks));
    this.#rest += Math.round(written);
  }
}

function workOf(blocks: number, { workingSetBlocks }: World): ReadWork & { blocks: number } {
  const density = Math.min(1, blocks / workingSetBlocks);
  return { blocks, runs: Math.ceil(blocks * (1 - density)) + 1, bytes: blocks * BLOCK_BYTES };
}

function scaled({ runs, bytes }: ReadWork, share: number): ReadWork {
  return { runs: runs * share, bytes: bytes * share };
}

const DISK: World = {
  workingSetBlocks: 1 << 20,
  firstBlocks: 1 << 20,
  writesPerMs: 0,
  speed: { msPerRun: 1 / 30, msPerByte: 1 / 600_000 },
  freezeMs: 30,
  storedPerMs: 250_000,
};

const anyWorld: fc.Arbitrary<World> = fc.record({
  workingSetBlocks: fc.integer({ min: 1000, max: 1 << 22 }),
  firstBlocks: fc.integer({ min: 0, max: 1 << 22 }),
  writesPerMs: fc.double({ min: 0, max: 200, noNaN: true }),
  speed: fc.record({
    msPerRun: fc.double({ min: 0.005, max: 10, noNaN: true }),
    msPerByte: fc.double({ min: 1 / 3_000_000, max: 1 / 1000, noNaN: true }),
  }),
  freezeMs: fc.double({ min: 1, max: 400, noNaN: true }),
  storedPerMs: fc.double({ min: 1000, max: 1_000_000, noNaN: true }),
});

const anyBounds: fc.Arbitrary<Bounds> = fc.record({
  canFreeze: fc.boolean(),
  limitMs: fc.integer({ min: 1, max: 60_000 }),
  budgetMs: fc.integer({ min: 1, max: 60_000 }),
  passesMax: fc.integer({ min: 1, max: 30 }),
  memoryBytes: fc.constant(64 << 20),
  blockBytes: fc.constant(BLOCK_BYTES),
  feedsItself: fc.boolean(),
});

describe("planNext()", () => {
  test("always comes to an end", () => {
    fc.assert(
      fc.property(anyWorld, anyBounds, (world, bounds) => {
        const { steps } = new Simulation(world, bounds).run();
        expect(steps.filter((kind) => kind === "pass").length).toBeLessThanOrEqual(
          bounds.passesMax,
        );
      }),
      { numRuns: 2000 },
    );
  });

  test("does not chase what it stores on the disk itself", () => {
    const bounds = { ...BOUNDS, feedsItself: true };
    expect(new Simulation(DISK, bounds).run()).toMatchObject({ steps: ["pass", "give up"] });
    const firstBlocks = (48 << 20) / BLOCK_BYTES;
    const { end, steps } = new Simulation({ ...DISK, firstBlocks }, bounds).run();
    expect({ end, passes: steps.filter((kind) => kind === "pass").length }).toEqual({
      end: "frozen",
      passes: 1,
    });
  });

  test("never plans a freeze beyond the limit, nor beyond the budget", () => {
    fc.assert(
      fc.property(anyWorld, anyBounds, (world, bounds) => {
        expect(plannedBudgetMs(bounds)).toBeLessThan(bounds.limitMs);
        expect(plannedBudgetMs(bounds)).toBeLessThanOrEqual(bounds.budgetMs);
        const { freezesMs } = new Simulation(world, bounds).run();
        // What the kernel needs to freeze is not the planner's to choose.
        const floorMs = world.freezeMs + readingMs(world.speed, { runs: 1, bytes: BLOCK_BYTES });
        for (const ms of freezesMs) {
          expect(ms).toBeLessThanOrEqual(Math.max(floorMs, bounds.limitMs));
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("freezes once, shortly, under writers that are slower than reading", () => {
    const slow = fc.double({ min: 0, max: 8, noNaN: true });
    fc.assert(
      fc.property(slow, (writesPerMs) => {
        const { end, freezesMs } = new Simulation({ ...DISK, writesPerMs }, BOUNDS).run();
        expect(end).toBe("frozen");
        expect(freezesMs).toHaveLength(1);
        expect(freezesMs[0]).toBeLessThan(60);
      }),
    );
  });

  test("converges under writers below the read speed, whatever they write to", () => {
    const world = fc.record({
      workingSetBlocks: fc.integer({ min: 1000, max: 1 << 20 }),
      writesPerMs: fc.double({ min: 0, max: 25, noNaN: true }),
      freezeMs: fc.double({ min: 1, max: 70, noNaN: true }),
    });
    fc.assert(
      fc.property(world, (fields) => {
        const { end, freezesMs } = new Simulation({ ...DISK, ...fields }, BOUNDS).run();
        expect(end).toBe("frozen");
        for (const ms of freezesMs) expect(ms).toBeLessThan(300);
      }),
      { numRuns: 500 },
    );
  });

  test("brakes a writer that saturates 4 GiB faster than it can be read", () => {
    const { end, freezesMs, steps, elapsedMs } = new Simulation(
      { ...DISK, writesPerMs: 65 },
      BOUNDS,
    ).run();
    expect(end).toBe("frozen");
    expect(steps).toContain("brake");
    for (const ms of freezesMs) expect(ms).toBeLessThan(1000);
    expect(elapsedMs).toBeLessThan(120_000);
  });

  test("gives up when freezing alone takes longer than the budget", () => {
    const { end, freezesMs } = new Simulation(
      { ...DISK, writesPerMs: 100, freezeMs: 2000 },
      BOUNDS,
    ).run();
    expect(end).toBe("gave up");
    expect(freezesMs.length).toBeLessThan(5);
  });

  test("gives up when blocks are written in spite of the freeze", () => {
    const facts = { ...restOf(0), failedFreezes: 2, isClosingIn: true };
    expect(planNext(facts, BOUNDS).kind).toBe("give up");
  });

  test("without a freeze, is done when nothing is left and gives up when passes do not shrink", () => {
    const bounds = { ...BOUNDS, canFreeze: false };
    expect(planNext(restOf(0), bounds)).toEqual({ kind: "pass" });
    const stretches: Stretch[] = [{ kind: "pass", blocksBefore: 0, blocksAfter: 0 }];
    expect(planNext({ ...restOf(0), stretches }, bounds)).toEqual({ kind: "done" });
    expect(new Simulation({ ...DISK, writesPerMs: 100 }, bounds).run().end).toBe("gave up");
    expect(new Simulation({ ...DISK, writesPerMs: 0 }, bounds).run()).toMatchObject({
      end: "quiet",
      steps: ["pass", "done"],
    });
  });

  test("gets ready before it freezes, and freezes at once when nothing is left", () => {
    expect(planNext(restOf(0), BOUNDS)).toEqual({ kind: "close in" });
    expect(planNext({ ...restOf(0), isClosingIn: true }, BOUNDS)).toEqual({
      kind: "freeze",
      budgetMs: 200,
    });
  });
});

describe("planWindow()", () => {
  test("reads all when it fits, and stops at the budget when it does not", () => {
    const fits = planWindow(restOf(100), BOUNDS, 30);
    expect(fits).toEqual({ readsAll: true, untilMs: 7500 });
    expect(planWindow(restOf(5000), BOUNDS, 30)).toEqual({ readsAll: false, untilMs: 200 });
  });

  test("reads a little more where freezing took longer than the budget", () => {
    expect(planWindow(restOf(100), BOUNDS, 400).readsAll).toBe(true);
    expect(planWindow(restOf(5000), BOUNDS, 400).readsAll).toBe(false);
  });
});

describe("learnSpeed()", () => {
  test("would have predicted what was measured last, unless it was wildly off", () => {
    const work = fc.record({
      runs: fc.integer({ min: 64, max: 100_000 }),
      bytes: fc.integer({ min: 64 * BLOCK_BYTES, max: 1 << 28 }),
    });
    fc.assert(
      fc.property(work, fc.double({ min: 0.6, max: 3, noNaN: true }), (done, factor) => {
        const tookMs = readingMs(UNMEASURED_SPEED, done) * factor;
        const learned = learnSpeed(UNMEASURED_SPEED, done, tookMs);
        expect(readingMs(learned, done)).toBeCloseTo(tookMs, 3);
        expect(Math.min(learned.msPerRun, learned.msPerByte)).toBeGreaterThan(0);
      }),
    );
  });

  test("finds both figures of a disk from readings of several kinds", () => {
    let speed = UNMEASURED_SPEED;
    for (let i = 0; i < 20; i++) {
      for (const work of [
        { runs: 5000, bytes: 5000 * BLOCK_BYTES },
        { runs: 64, bytes: 64 << 20 },
      ]) {
        speed = learnSpeed(speed, work, readingMs(DISK.speed, work));
      }
    }
    expect(speed.msPerRun).toBeCloseTo(DISK.speed.msPerRun, 3);
    expect(speed.msPerByte).toBeCloseTo(DISK.speed.msPerByte, 7);
  });

  test("learns nothing from a few blocks, which take as long as one read does", () => {
    const few = { runs: 3, bytes: 3 * BLOCK_BYTES };
    expect(learnSpeed(UNMEASURED_SPEED, few, 100)).toBe(UNMEASURED_SPEED);
  });
});

function restOf(blocks: number): Facts {
  return {
    rest: { blocks, runs: blocks, bytes: blocks * BLOCK_BYTES },
    speed: UNMEASURED_SPEED,
    freezeMs: UNMEASURED_FREEZE_MS,
    stretches: [],
    failedFreezes: 0,
    isClosingIn: false,
  };
}
