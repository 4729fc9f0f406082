/**
 * Two programs for one event, one of which may be skipped (bpf/rescue.bpf.h): every way in which
 * events can interrupt each other on one CPU, three deep, step by step.
 */
import { describe, expect, test } from "vitest";

const DEPTH_MAX = 3;
const EVENTS_MAX = 5;
/** Requests, by the set in which their tokens go. A set has room for one. */
const SET_OF: Record<number, number> = { 1: 0, 2: 0, 3: 1 };

interface Token {
  request: number;
  /** No two events of a request have the same, where the kernel keeps times. */
  use: number;
}

/** A CPU. What is on the stack is interrupted, but for the last one. */
interface State {
  stack: (Token & { step: string; seen: Token; works: number })[];
  /** How many runs of each program the kernel has begun and not ended. */
  active: { first: number; second: number };
  tokens: Token[];
  skipped: number;
  left: number;
  rescued: number;
  begun: number;
  /** Events that have ended and that nobody worked on. */
  lost: number;
}

interface Rules {
  /** Whether the kernel skips a program that is running already. */
  skips: boolean;
  hasTimes: boolean;
  /** Which token the second takes for its own. */
  isMine: (seen: Token, own: Token) => boolean;
}

const RULES: Rules = {
  skips: true,
  hasTimes: true,
  isMine: (seen, own) => seen.request === own.request && seen.use === own.use,
};

const NONE: Token = { request: 0, use: 0 };
const START: State = {
  ...{ stack: [], active: { first: 0, second: 0 }, tokens: [NONE, NONE] },
  ...{ skipped: 0, left: 0, rescued: 0, begun: 0, lost: 0 },
};

type Top = State["stack"][number];
/** @returns The next step; undefined at the end. */
type Step = (state: State, top: Top, rules: Rules) => string | undefined;

const setOf = ({ request }: Token): number => SET_OF[request] ?? 0;

/** What an event does on its way; another may come between any two steps. */
const STEPS: Record<string, Step> = {
  enterFirst: ({ active }, _top, { skips }) =>
    ++active.first > 1 && skips ? "skipFirst" : "lookForRoom",
  skipFirst: (state) => {
    state.skipped++;
    return "leaveFirst";
  },
  lookForRoom: ({ tokens }, top) => {
    top.seen = tokens[setOf(top)] ?? NONE;
    return [0, top.request].includes(top.seen.request) ? "leaveToken" : "leaveToSecond";
  },
  leaveToSecond: (state) => {
    state.left++;
    return "leaveFirst";
  },
  leaveToken: ({ tokens }, top) => {
    tokens[setOf(top)] = { request: top.request, use: top.use };
    return "workFirst";
  },
  workFirst: (_state, top) => {
    top.works++;
    return "leaveFirst";
  },
  leaveFirst: ({ active }) => {
    active.first--;
    return "enterSecond";
  },
  enterSecond: ({ active }, _top, { skips }) =>
    ++active.second > 1 && skips ? "leaveSecond" : "lookForToken",
  lookForToken: ({ tokens }, top, { isMine }) => {
    top.seen = tokens[setOf(top)] ?? NONE;
    return isMine(top.seen, top) ? "takeToken" : "workSecond";
  },
  takeToken: ({ tokens }, top) => {
    tokens[setOf(top)] = NONE;
    return "leaveSecond";
  },
  workSecond: (_state, top) => {
    top.works++;
    return "countRescue";
  },
  countRescue: (state) => {
    state.rescued++;
    return "leaveSecond";
  },
  leaveSecond: ({ active }) => {
    active.second--;
    return undefined;
  },
};

function stepped(before: State, rules: Rules): State {
  const state = structuredClone(before);
  const top = state.stack.at(-1) as Top;
  const next = STEPS[top.step]?.(state, top, rules);
  if (next !== undefined) top.step = next;
  else if (state.stack.pop()?.works === 0) state.lost++;
  return state;
}

/** A request that goes on already cannot begin again. */
function interrupted(before: State, { hasTimes }: Rules): State[] {
  if (before.stack.length === DEPTH_MAX || before.begun === EVENTS_MAX) return [];
  const free = Object.keys(SET_OF).map(Number);
  return free
    .filter((request) => before.stack.every((event) => event.request !== request))
    .map((request) => {
      const state = structuredClone(before);
      const use = hasTimes ? state.begun + 1 : 1;
      state.begun++;
      state.stack.push({ request, use, step: "enterFirst", seen: NONE, works: 0 });
      return state;
    });
}

/** Goes through all states. @returns The number of them, and the first that a claim is false of. */
function explore(rules: Rules, claim: (state: State) => boolean) {
  const seen = new Set([JSON.stringify(START)]);
  const open: State[] = [START];
  for (let state = open.pop(); state !== undefined; state = open.pop()) {
    if (!claim(state)) return { states: seen.size, failed: state };
    const next = interrupted(state, rules);
    if (state.stack.length > 0) next.push(stepped(state, rules));
    for (const each of next) {
      const key = JSON.stringify(each);
      if (!seen.has(key)) open.push(each);
      seen.add(key);
    }
  }
  return { states: seen.size, failed: undefined };
}

const taintOf = ({ skipped, left, rescued }: State): number => skipped + left - rescued;
const countsWhatIsLost = (state: State): boolean => taintOf(state) >= state.lost;
const countsNothingElse = (state: State): boolean =>
  state.stack.length > 0 || taintOf(state) === state.lost;
const worksOnce = ({ stack }: State): boolean => stack.every(({ works }) => works <= 1);

const KERNELS: (Rules & { kernel: string })[] = [
  { ...RULES, kernel: "keeps times of requests" },
  { ...RULES, kernel: "keeps no times", hasTimes: false },
  { ...RULES, kernel: "skips nothing", skips: false },
];

describe("two programs for an event, wherever interrupts come", () => {
  test.each(KERNELS)(
    "work on it once, or the taint counts it: a kernel that $kernel",
    (rules) => {
      const { states, failed } = explore(
        rules,
        (state) => countsWhatIsLost(state) && countsNothingElse(state) && worksOnce(state),
      );
      expect(failed).toBeUndefined();
      expect(states).toBeGreaterThan(10_000);
    },
    120_000,
  );

  test("lose nothing where the kernel skips nothing", () => {
    expect(explore({ ...RULES, skips: false }, ({ lost }) => lost === 0).failed).toBeUndefined();
  }, 120_000);

  test("would hide what is lost if the second took any token for its own", () => {
    const rules: Rules = { ...RULES, isMine: ({ request }) => request !== 0 };
    expect(explore(rules, countsWhatIsLost).failed).toBeDefined();
  }, 120_000);
});
