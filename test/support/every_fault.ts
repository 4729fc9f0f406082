/** The anomaly test: call 1 of a store goes wrong, then call 2 alone, then 3, for each fault. */
import { IbackupError } from "../../src/errors.ts";
import type { Store } from "../../src/store/store.ts";
import { type Fault, FaultStore, type StoreCall } from "./fault_store.ts";
import type { MemoryStore } from "./memory_store.ts";

/** What is tried again and again, each time with another call that goes wrong. */
export interface Trial {
  /** What there is before. Each round has a copy of it. */
  before: MemoryStore;
  faults: readonly Fault[];
  /** Default: all. */
  calls?: readonly StoreCall[];
  act(store: Store): Promise<unknown>;
  /** Has to throw where something is wrong. */
  check(round: Round): Promise<void>;
}

export interface Round {
  fault: Fault;
  /** Which call went wrong; 1 is the first. */
  nth: number;
  /** What `act` threw; undefined when it came to its end. */
  failure: IbackupError | undefined;
  /** As it is now. */
  store: MemoryStore;
  /** Lets happen what a late or vanishing write has left to happen; else nothing. */
  settle: () => Promise<void>;
}

/**
 * Plays every round twice where something happens late: once before the check, and once where the
 * check calls `settle` itself, in the middle of what it does.
 *
 * @returns How many calls `act` made without a fault.
 * @throws What `check` throws, with the round in its message; what `act` throws, if it is a bug.
 */
export async function playEveryFault(trial: Trial): Promise<number> {
  let calls = 0;
  for (const fault of trial.faults) {
    const isLate = fault === "late" || fault === "vanish";
    for (const settlesFirst of isLate ? [true, false] : [true]) {
      for (let nth = 1; ; nth++) {
        const faulty = await playRound(trial, { fault, nth, settlesFirst });
        if (!faulty.fired) break;
        calls = Math.max(calls, nth);
      }
    }
  }
  return calls;
}

async function playRound(
  { before, act, check, calls }: Trial,
  { fault, nth, settlesFirst }: { fault: Fault; nth: number; settlesFirst: boolean },
): Promise<FaultStore> {
  const store = before.copy();
  const faulty = new FaultStore(store, { nth, fault, ...(calls && { calls }) });
  try {
    const failure = await act(faulty).then(
      () => undefined,
      (error: unknown) => {
        if (error instanceof IbackupError) return error;
        throw error;
      },
    );
    const settle = () => faulty.settle();
    if (settlesFirst) await settle();
    await check({ fault, nth, failure, store, settle });
  } catch (error) {
    const when = settlesFirst ? "" : ", settled late";
    throw new Error(`call ${nth}, which is to ${fault}${when}: ${error}`, { cause: error });
  }
  return faulty;
}
