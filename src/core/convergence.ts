/**
 * How a flush comes to its end while the disk goes on being written. Pure.
 *
 * As in live migration: passes read what the last one's writes left, until the rest can be read in
 * one short freeze. Where passes do not shrink, bounded freezes brake the writers: blocks are read
 * while they stand still, and handed over while they run.
 */

/** What reading a set of blocks takes: scattered blocks are slower than as many in a row. */
export interface ReadWork {
  /** Runs of neighbouring blocks. */
  runs: number;
  bytes: number;
}

export interface ReadSpeed {
  msPerRun: number;
  msPerByte: number;
}

/** Until something was read: a modest disk, so that the first freeze is not planned too short. */
export const UNMEASURED_SPEED: ReadSpeed = { msPerRun: 0.2, msPerByte: 1 / 100_000 };
/** What freezing costs before a block is read, until it was done. */
export const UNMEASURED_FREEZE_MS = 50;

/** Less than this takes as long as one read does, and tells nothing of many. */
const RUNS_MEASURABLE = 64;
const BYTES_MEASURABLE = 4 << 20;
const FACTOR_MIN = 0.1;

export function readingMs({ msPerRun, msPerByte }: ReadSpeed, { runs, bytes }: ReadWork): number {
  return runs * msPerRun + bytes * msPerByte;
}

/**
 * The speed by which this reading would have been predicted. Of the two numbers, that changes most
 * which had the larger share in the prediction.
 */
export function learnSpeed(speed: ReadSpeed, work: ReadWork, tookMs: number): ReadSpeed {
  if (work.runs < RUNS_MEASURABLE && work.bytes < BYTES_MEASURABLE) return speed;
  const expectedMs = readingMs(speed, work);
  const runShare = (work.runs * speed.msPerRun) / expectedMs;
  const byteShare = 1 - runShare;
  const error = (tookMs / expectedMs - 1) / (runShare ** 2 + byteShare ** 2);
  return {
    msPerRun: speed.msPerRun * Math.max(FACTOR_MIN, 1 + runShare * error),
    msPerByte: speed.msPerByte * Math.max(FACTOR_MIN, 1 + byteShare * error),
  };
}

/** One freeze tells little of the next: both the old and the new have their weight. */
export function learnFreezeMs(knownMs: number, tookMs: number): number {
  return (knownMs + tookMs) / 2;
}

/** A stretch of reading that is over; a freeze in which not all could be read was a brake. */
export interface Stretch {
  kind: "pass" | "brake";
  /** Blocks to read when it began, and after it: those not read, and those written meanwhile. */
  blocksBefore: number;
  blocksAfter: number;
}

export interface Facts {
  /** What is still to be read, as of the newest collect. */
  rest: ReadWork & { blocks: number };
  speed: ReadSpeed;
  /** Freezing, waiting for writes in flight, collecting, thawing. */
  freezeMs: number;
  /** Oldest first. */
  stretches: readonly Stretch[];
  /** Freezes in which blocks were written all the same. */
  failedFreezes: number;
  /** The step "close in" was taken. */
  isClosingIn: boolean;
}

export interface Bounds {
  /** False: nothing is mounted that could be frozen, or nobody wants it. */
  canFreeze: boolean;
  /** No freeze is longer. */
  limitMs: number;
  /** No freeze is planned to be longer. */
  budgetMs: number;
  passesMax: number;
  /** Room for what is read while frozen. */
  memoryBytes: number;
  blockBytes: number;
  /** What the flush stores goes to the very disk that it reads, and has to be read in turn. */
  feedsItself: boolean;
}

export type Step =
  /** Read all that is left while the disk is in use. */
  | { kind: "pass" }
  /** Get ready to freeze; from now on passes go into memory, and are as short as can be. */
  | { kind: "close in" }
  /** Freeze, and read all that is left. */
  | { kind: "freeze"; budgetMs: number }
  /** Freeze, read what can be read in that time, and let the writers run for `thawedMs`. */
  | { kind: "brake"; budgetMs: number; thawedMs: number }
  /** Nothing is left to read, and nothing can be frozen. */
  | { kind: "done" }
  /** It does not converge. `reason` goes on after "because". */
  | { kind: "give up"; reason: string };

/** Where freezing itself took too long, reading on for half of that spares doing it again. */
const OVERSHOOT = 1.5;
/** What is left of the limit for things that take longer than planned. */
const BUDGET_PER_LIMIT = 0.75;
/** So little is read in a moment that another pass is worth it even when it does not shrink. */
const SMALL_BYTES = 16 << 20;
/** When no more than this is left, the end is near. */
const CLOSE_IN_BYTES = 16 << 20;
/** A pass that leaves more than this of what it began with does not shrink. */
const SHRINKS = 0.75;
/** Before a freeze another pass is taken while each leaves half, and the rest costs this much. */
const PASS_PAYS_SHARE = 0.2;

const BRAKES_MAX = 256;
/** Brakes that are judged together: single ones vary. */
const BRAKES_JUDGED = 8;
/** A frozen stretch is four times as long as the thawed one, and longer where that is not enough. */
const THAWED_SHARE = 1 / 4;
const BRAKE_LEVELS = 5;
const BRAKE_SHRINKS = 0.95;
const THAWED_MS_MIN = 5;
/** A brake has to be long enough to read something. */
const BRAKE_READING_SHARE = 0.1;
const FAILED_FREEZES_MAX = 2;

export function planNext(facts: Facts, bounds: Bounds): Step {
  if (chasesItself(facts, bounds)) {
    return {
      kind: "give up",
      reason: "the repository stands on the disk, and grows with each pass",
    };
  }
  if (!bounds.canFreeze) return planWithoutFreeze(facts, bounds);
  const step = planTowardsFreeze(facts, bounds);
  const nearBytes = bounds.feedsItself ? bounds.memoryBytes : CLOSE_IN_BYTES;
  const isNear = step.kind === "pass" && facts.rest.bytes <= nearBytes;
  const isFreeze = step.kind === "freeze" || step.kind === "brake";
  return (isNear || isFreeze) && !facts.isClosingIn ? { kind: "close in" } : step;
}

/** What fits into memory can be read without storing anything meanwhile. */
function chasesItself(facts: Facts, { feedsItself, memoryBytes }: Bounds): boolean {
  return feedsItself && passesOf(facts).length > 0 && facts.rest.bytes > memoryBytes;
}

function planTowardsFreeze(facts: Facts, bounds: Bounds): Step {
  const budgetMs = plannedBudgetMs(bounds);
  const { rest, speed, freezeMs, failedFreezes } = facts;
  if (failedFreezes >= FAILED_FREEZES_MAX) {
    return { kind: "give up", reason: "blocks were written while the file systems were frozen" };
  }
  const brakes = facts.stretches.filter(({ kind }) => kind === "brake");
  if (brakeLevel(brakes) >= BRAKE_LEVELS || brakes.length >= BRAKES_MAX) {
    return { kind: "give up", reason: "blocks are written faster than they can be read" };
  }
  const fits = rest.bytes <= bounds.memoryBytes && freezeMs + readingMs(speed, rest) <= budgetMs;
  const passIsLeft = passesOf(facts).length < bounds.passesMax;
  if (fits) return passIsLeft && passPays(facts) ? { kind: "pass" } : { kind: "freeze", budgetMs };
  if (passIsLeft && passShrinks(facts, 0)) return { kind: "pass" };
  return planBrake(freezeMs, budgetMs, brakeLevel(brakes));
}

/** The longest that a freeze is planned to take. */
export function plannedBudgetMs({ budgetMs, limitMs }: Bounds): number {
  return Math.min(budgetMs, limitMs * BUDGET_PER_LIMIT);
}

/**
 * How long reading may go on in a freeze.
 *
 * @param elapsedMs Since it began. What is left to read is in `facts`.
 * @returns `readsAll`: all that is left should be readable in time. `untilMs`, since the beginning:
 *   when to stop reading, done or not.
 */
export function planWindow(
  facts: Pick<Facts, "rest" | "speed">,
  bounds: Bounds,
  elapsedMs: number,
): { readsAll: boolean; untilMs: number } {
  const budgetMs = plannedBudgetMs(bounds);
  const hardMs = bounds.limitMs * BUDGET_PER_LIMIT;
  const softMs = Math.min(Math.max(budgetMs, elapsedMs * OVERSHOOT), hardMs);
  const readsAll =
    facts.rest.bytes <= bounds.memoryBytes &&
    elapsedMs + readingMs(facts.speed, facts.rest) <= softMs;
  return { readsAll, untilMs: readsAll ? hardMs : budgetMs };
}

function planWithoutFreeze(facts: Facts, { passesMax, blockBytes }: Bounds): Step {
  // What was written since the first collect is known only after a pass.
  if (facts.rest.blocks === 0 && facts.stretches.length > 0) return { kind: "done" };
  const isWorthIt = passShrinks(facts, SMALL_BYTES / blockBytes);
  if (passesOf(facts).length < passesMax && isWorthIt) return { kind: "pass" };
  return { kind: "give up", reason: "blocks are written faster than passes come to an end" };
}

function passesOf({ stretches }: Facts): readonly Stretch[] {
  return stretches.filter(({ kind }) => kind === "pass");
}

/** What two passes in a row do not shrink, a third will not: one may have met a burst of writes. */
function passShrinks(facts: Facts, smallBlocks: number): boolean {
  const newest = passesOf(facts).slice(-2);
  const shrinks = ({ blocksBefore, blocksAfter }: Stretch): boolean =>
    blocksAfter <= Math.max(blocksBefore * SHRINKS, smallBlocks);
  return newest.length < 2 || newest.some(shrinks);
}

/** The rest could be read in the freeze; a pass before may make that freeze much shorter. */
function passPays(facts: Facts): boolean {
  const { rest, speed, freezeMs, stretches } = facts;
  if (readingMs(speed, rest) < freezeMs * PASS_PAYS_SHARE) return false;
  const last = stretches.at(-1);
  return last === undefined || last.blocksAfter <= last.blocksBefore / 2;
}

function planBrake(freezeMs: number, budgetMs: number, level: number): Step {
  if (freezeMs > budgetMs * (1 - BRAKE_READING_SHARE)) {
    const took = `freezing alone takes ${Math.round(freezeMs)} ms`;
    return { kind: "give up", reason: `${took} of a budget of ${Math.round(budgetMs)} ms` };
  }
  const thawedMs = Math.max(THAWED_MS_MIN, (budgetMs * THAWED_SHARE) / 2 ** level);
  return { kind: "brake", budgetMs, thawedMs };
}

/** How often the thawed stretches were halved: whenever several brakes together did not shrink. */
function brakeLevel(brakes: readonly Stretch[]): number {
  let level = 0;
  for (let at = BRAKES_JUDGED; at <= brakes.length; at += BRAKES_JUDGED) {
    const before = brakes[at - BRAKES_JUDGED]?.blocksBefore ?? 0;
    const after = brakes[at - 1]?.blocksAfter ?? 0;
    if (after > before * BRAKE_SHRINKS) level++;
  }
  return level;
}
