/** Freezing file systems for the length of a few reads, through the helper and its watchdog. */
import { assert, IbackupError } from "../errors.ts";
import type { Frame } from "../frame/codec.ts";
import { OUTCOME } from "../frame/layout.ts";
import type { HelperProcess } from "./helper_process.ts";

/** A file system, by one of its mounts. */
export interface FreezeTarget {
  /** As /proc/self/mountinfo gives it: the mountpoint may lead to another mount by now. */
  mountId: number;
  mountpoint: string;
  /** "ext4", "xfs"... */
  fileSystem: string;
}

export type FreezeOutcome =
  | "frozen"
  | "read-only"
  | "unsupported"
  /** By somebody else, who will thaw it. */
  | "already frozen"
  /** The mountpoint leads to another mount, or nowhere. */
  | "unreachable";

export interface FrozenMount extends FreezeTarget {
  outcome: FreezeOutcome;
  /** How long FIFREEZE took; 0 where it was not tried. */
  freezeMs: number;
}

const OUTCOMES: ReadonlyMap<number, FreezeOutcome> = new Map([
  [OUTCOME.frozen, "frozen"],
  [OUTCOME.readOnly, "read-only"],
  [OUTCOME.unsupported, "unsupported"],
  [OUTCOME.alreadyFrozen, "already frozen"],
  [OUTCOME.unreachable, "unreachable"],
]);

/**
 * Freezes file systems one after another, the first target first. They stay frozen until `thaw`,
 * for `limitMs` at most: the helper and a watchdog of its own see to that, also when this process,
 * or either of them, dies or is stopped.
 *
 * @param targets In the order of `freezeTargets`; at least one.
 * @param limitMs From the first FIFREEZE on, which writes out what is dirty; up to 600,000.
 * @returns One for each target, in their order.
 * @throws IbackupError CONSISTENCY when the limit passed meanwhile, NOT_PERMITTED, IO, TRACKER.
 *   Then nothing is frozen.
 */
export async function freeze(
  helper: HelperProcess,
  targets: readonly FreezeTarget[],
  limitMs: number,
): Promise<FrozenMount[]> {
  assert(targets.length > 0, "something is to be frozen");
  const tail = targets.map(({ mountId, mountpoint }) => `${mountId} ${mountpoint}`).join("\0");
  const { frames, damaged } = await helper.ask(
    { name: "freezeRequest", fields: { limitMs, reserved: 0 }, tail },
    { repeatable: false },
  );
  const outcomes = damaged ? [] : outcomesOf(frames);
  if (outcomes.length === targets.length) {
    return targets.map((target, index) => ({ ...target, ...outcomes[index] }) as FrozenMount);
  }
  await thaw(helper);
  throw new IbackupError("TRACKER", "Cannot tell which file systems are frozen", {
    why: "the helper's answer arrived damaged; all were thawed again",
    fix: "check this machine's memory; then run the command again",
  });
}

function outcomesOf(frames: readonly Frame[]): Pick<FrozenMount, "outcome" | "freezeMs">[] {
  return frames
    .filter((frame) => frame.name === "freezeOutcome")
    .map(({ fields }) => {
      const outcome = OUTCOMES.get(fields.outcome);
      assert(outcome !== undefined, "each outcome has a name");
      return { outcome, freezeMs: fields.elapsedUs / 1000 };
    });
}

/**
 * Thaws what `freeze` froze.
 *
 * @returns `frozenMs`: from before the first FIFREEZE to after the last FITHAW. `expired`: they were
 *   thawed before this was called, because the limit passed, the watchdog died, a signal came, or
 *   somebody else thawed them; what was read meanwhile is no point in time.
 */
export async function thaw(helper: HelperProcess): Promise<{ frozenMs: number; expired: boolean }> {
  const { fields } = await helper.askOne({ name: "thawRequest", fields: {} }, "thawed");
  return { frozenMs: fields.frozenUs / 1000, expired: fields.expired !== 0 };
}

/**
 * Waits until no write is in flight on the whole disk, be it of a file system or not.
 *
 * @returns False when some still were after `timeoutMs` (up to 60,000).
 * @throws IbackupError CONSISTENCY when a freeze expired meanwhile.
 */
export async function drain(
  helper: HelperProcess,
  wholeDisk: { major: number; minor: number },
  timeoutMs: number,
): Promise<boolean> {
  const { major, minor } = wholeDisk;
  try {
    await helper.ask({ name: "drainRequest", fields: { major, minor, timeoutMs, reserved: 0 } });
    return true;
  } catch (error) {
    if (error instanceof IbackupError && error.code === "TARGET_BUSY") return false;
    throw error;
  }
}
