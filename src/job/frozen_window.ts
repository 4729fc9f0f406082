/** One freeze: what is left is read while nothing is written. */
import { type Bounds, planWindow } from "../core/convergence.ts";
import { IbackupError } from "../errors.ts";
import type { FreezeTarget, FrozenMount } from "../tracker/freezer.ts";
import type { JobContext } from "./context.ts";
import type { FlushTask } from "./flush_task.ts";
import type { Hooks } from "./hooks.ts";
import type { Rest } from "./rest.ts";
import type { RestMemory } from "./rest_memory.ts";

/** Other partitions of the disk may be in use without end. */
const DRAIN_MS = 50;
/** What is marked while all stands still came late; more than twice, and somebody goes on writing. */
const ROUNDS_MAX = 3;

export interface WindowParts {
  flush: FlushTask;
  rest: Rest;
  memory: RestMemory;
  hooks: Hooks;
  targets: readonly FreezeTarget[];
  bounds: Bounds;
}

/** What came of a freeze. */
export interface FrozenWindow {
  mounts: readonly FrozenMount[];
  frozenMs: number;
  /** The limit passed, and all was thawed before it was asked for. */
  expired: boolean;
  /** All was read, and nothing was written since: that is the disk at `capturedAt`. */
  isStill: boolean;
  /** Blocks were written while the file systems were frozen. */
  wasWritten: boolean;
  capturedAt: Date;
  /** What freezing itself took. */
  freezeMs: number;
}

type Seen = Omit<FrozenWindow, "mounts" | "frozenMs">;

/**
 * Freezes, reads into memory, and thaws, whatever happens. Nothing of ours may be written from here
 * to the end: uploads and messages are held back by the caller.
 */
export async function readFrozen(parts: WindowParts): Promise<FrozenWindow> {
  return await parts.flush.context.freezeGate.freeze(() => freezeAndThaw(parts));
}

async function freezeAndThaw(parts: WindowParts): Promise<FrozenWindow> {
  const { flush, targets, bounds } = parts;
  const { disk, context } = flush;
  const startedMs = context.clock.monotonicMs();
  let mounts: readonly FrozenMount[] = [];
  try {
    mounts = await disk.freeze(targets, bounds.limitMs);
    const seen = await readStandingDisk(parts, startedMs);
    const { frozenMs, expired } = await disk.thaw();
    const isStill = seen.isStill && sameMounts(targets, disk.freezeTargets());
    return { ...seen, isStill, expired: seen.expired || expired, mounts, frozenMs };
  } catch (error) {
    // The first failure is told. Where even this one fails, the end of the helper thaws.
    const thawed = await disk.thaw().catch(() => undefined);
    if (!(error instanceof IbackupError) || error.code !== "CONSISTENCY") throw error;
    const frozenMs = thawed?.frozenMs ?? context.clock.monotonicMs() - startedMs;
    return { ...expiredSince(startedMs, context), mounts, frozenMs };
  }
}

/** The limit passed before anything was read. */
function expiredSince(startedMs: number, { clock }: JobContext): Seen {
  const freezeMs = clock.monotonicMs() - startedMs;
  const capturedAt = clock.now();
  return { isStill: false, wasWritten: false, expired: true, capturedAt, freezeMs };
}

async function readStandingDisk(parts: WindowParts, startedMs: number): Promise<Seen> {
  const { flush, rest, memory, hooks, bounds } = parts;
  const { disk, context } = flush;
  const elapsedMs = (): number => context.clock.monotonicMs() - startedMs;
  let capturedAt = context.clock.now();
  await disk.drain(DRAIN_MS);
  await rest.collect();
  const freezeMs = elapsedMs();
  const { untilMs } = planWindow({ rest: rest.work, speed: rest.speed }, bounds, freezeMs);
  const seen = { capturedAt, freezeMs, isStill: false, wasWritten: false, expired: false };
  for (let round = 1; ; round++) {
    await rest.intoMemory(memory, startedMs + untilMs);
    if (!rest.isEmpty) return seen;
    if ((await rest.collect()) === 0) break;
    if (round === ROUNDS_MAX || elapsedMs() > untilMs) return { ...seen, wasWritten: true };
    capturedAt = context.clock.now();
  }
  if (!hooks.has("frozen")) return { ...seen, capturedAt, isStill: true };
  const expired = !(await hooks.whileFrozen(bounds.limitMs - elapsedMs()));
  const wasWritten = (await rest.collect()) > 0;
  return { ...seen, capturedAt, expired, wasWritten, isStill: !wasWritten };
}

/** A file system that was mounted meanwhile is not frozen, and may hold what was not written yet. */
function sameMounts(left: readonly FreezeTarget[], right: readonly FreezeTarget[]): boolean {
  const numbers = (targets: readonly FreezeTarget[]): string =>
    targets.map(({ mountId }) => mountId).join(" ");
  return numbers(left) === numbers(right);
}
