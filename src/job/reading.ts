/** The passes and freezes in which a flush reads what its backup will hold. */
import type { BlockSet } from "../core/block_set.ts";
import {
  type Bounds,
  learnFreezeMs,
  planNext,
  type Step,
  type Stretch,
  UNMEASURED_FREEZE_MS,
} from "../core/convergence.ts";
import { taintsBetween } from "../core/gap_check.ts";
import type { Manifest, ManifestDetails } from "../core/manifest.ts";
import { formatCount, formatDuration } from "../core/units.ts";
import type { BlockRun } from "../disk/disk_reader.ts";
import type { FrozenMount } from "../tracker/freezer.ts";
import { taintsOf } from "./flush_passes.ts";
import type { FlushTask } from "./flush_task.ts";
import { type Freezing, fileSystemsOf } from "./freezing.ts";
import { type FrozenWindow, readFrozen } from "./frozen_window.ts";
import type { Hooks } from "./hooks.ts";
import { OwnWrites } from "./own_writes.ts";
import { Rest, storeRun } from "./rest.ts";
import { RestMemory } from "./rest_memory.ts";

/** For what is read while frozen. */
const MEMORY_BYTES = 48 << 20;
/** Free before the next freeze: more than is read in one that is not the last. */
const ROOM_BYTES = 16 << 20;
/** How long the writers run after a freeze that was meant to be the last. */
const THAWED_MS = 50;

/** What the passes and freezes came to. */
export interface Reading {
  passes: number;
  consistency: Manifest["consistency"];
  /** Why it is not frozen; "" when it is. */
  shortfall: string;
  capturedAt: Date;
  /** The longest freeze; null when there was none. */
  freezeMs: number | null;
  fileSystems: ManifestDetails["fileSystems"];
}

export interface ReadingPlan {
  first: BlockSet;
  taintsAtStart: Readonly<Record<string, number>>;
  freezing: Freezing;
  hooks: Hooks;
}

/**
 * Reads the blocks, and again what was written meanwhile, until nothing was: in a freeze where that
 * is possible. Where it does not converge the backup is fuzzy.
 */
export async function readDisk(flush: FlushTask, plan: ReadingPlan): Promise<Reading> {
  if (flush.ledger !== undefined) return await new TrackedReading(flush, plan).run();
  await new Rest(flush, plan.first).stream();
  return {
    passes: 1,
    consistency: "fuzzy",
    shortfall: "the disk is not tracked",
    capturedAt: flush.context.clock.now(),
    freezeMs: null,
    fileSystems: fileSystemsOf(plan.freezing.targets, []),
  };
}

/** The disk as it was at one instant, or over a while. */
type Reached = Pick<Reading, "consistency" | "shortfall" | "capturedAt">;
type FreezeStep = Extract<Step, { kind: "freeze" | "brake" }>;

const UNSEEN = "some writes may not have been seen";

class TrackedReading {
  readonly #flush: FlushTask;
  readonly #plan: ReadingPlan;
  readonly #bounds: Bounds;
  readonly #rest: Rest;
  readonly #memory: RestMemory;
  readonly #ownWrites: OwnWrites;
  readonly #stretches: Stretch[] = [];
  #freezeMs = UNMEASURED_FREEZE_MS;
  #failedFreezes = 0;
  /** pre-freeze has run; passes go into memory. */
  #isClosingIn = false;
  #mounts: readonly FrozenMount[] = [];
  #longestFreezeMs: number | null = null;
  #freezeCount = 0;

  constructor(flush: FlushTask, plan: ReadingPlan) {
    const { blockBytes } = flush.disk;
    const { obstacle, limitMs, budgetMs, passesMax, feedsItself } = plan.freezing;
    this.#flush = flush;
    this.#plan = plan;
    const canFreeze = obstacle === undefined;
    const limits = { limitMs, budgetMs, passesMax, memoryBytes: MEMORY_BYTES };
    this.#bounds = { canFreeze, ...limits, blockBytes, feedsItself };
    this.#ownWrites = new OwnWrites(flush);
    this.#rest = new Rest(flush, plan.first);
    const store = (run: BlockRun): Promise<void> => storeRun(flush, run);
    this.#memory = new RestMemory({ capacityBytes: MEMORY_BYTES, blockBytes, store });
  }

  async run(): Promise<Reading> {
    try {
      const reached = await this.#converge();
      if (this.#freezeCount > 1) {
        const longest = formatDuration(this.#longestFreezeMs ?? 0);
        const times = formatCount(this.#freezeCount, "time");
        this.#flush.context.progress.message(`frozen ${times}, the longest ${longest}`);
      }
      return {
        ...reached,
        passes: this.#stretches.length,
        freezeMs: this.#longestFreezeMs,
        fileSystems: fileSystemsOf(this.#plan.freezing.targets, this.#mounts),
      };
    } finally {
      await this.#plan.hooks.end();
    }
  }

  async #converge(): Promise<Reached> {
    for (;;) {
      this.#flush.context.signal.throwIfAborted();
      const reached = await this.#take(this.#nextStep());
      if (reached !== undefined) return reached;
    }
  }

  /** @returns Undefined while there is something left to do. */
  async #take(step: Step): Promise<Reached | undefined> {
    switch (step.kind) {
      case "pass":
        return await this.#pass();
      case "close in":
        return await this.#closeIn();
      case "freeze":
      case "brake":
        return await this.#freeze(step);
      case "done":
        return this.#withoutFreeze(this.#plan.freezing.obstacle ?? "");
      case "give up":
        return await this.#giveUp(step.reason);
    }
  }

  #nextStep(): Step {
    const facts = {
      rest: this.#rest.work,
      speed: this.#rest.speed,
      freezeMs: this.#freezeMs,
      stretches: this.#stretches,
      failedFreezes: this.#failedFreezes,
      isClosingIn: this.#isClosingIn,
    };
    return planNext(facts, this.#bounds);
  }

  /** Reads all that is left, and collects what was written meanwhile. */
  async #pass(): Promise<undefined> {
    const { bytes, blocks } = this.#rest;
    if (this.#isClosingIn && bytes <= this.#memory.freeBytes) {
      await this.#rest.intoMemory(this.#memory, Number.POSITIVE_INFINITY);
    } else {
      await this.#passThrough();
    }
    await this.#rest.collect();
    this.#note("pass", blocks);
  }

  async #passThrough(): Promise<void> {
    this.#ownWrites.goOn();
    // The last block added counts, so what waits in memory goes first.
    await this.#memory.emptied();
    await this.#rest.stream();
    if (this.#isClosingIn) await this.#ownWrites.stop();
    await this.#flush.disk.sync();
  }

  /** The time of pre-freeze, and of the last upload, should not be that of the freeze. */
  async #closeIn(): Promise<undefined> {
    await this.#plan.hooks.begin();
    this.#isClosingIn = true;
    await this.#ownWrites.stop();
    // So that freezing has little to write out.
    await this.#flush.disk.sync();
    await this.#rest.collect();
  }

  async #freeze(step: FreezeStep): Promise<Reached | undefined> {
    const { blocks } = this.#rest;
    // In a brake what was read before goes on to be packed: only writing has to wait.
    if (step.kind === "freeze") this.#memory.hold();
    else this.#memory.release();
    const window = await this.#readFrozen();
    const reached = this.#reachedBy(window);
    if (reached !== undefined) {
      this.#note("brake", blocks);
      await this.#plan.hooks.end();
      this.#ownWrites.goOn();
      await this.#memory.emptied();
      return reached;
    }
    if (window.expired) {
      // All that was left was read, though not as it was at one instant.
      if (this.#rest.isNewest) this.#note("brake", blocks);
      return await this.#giveUp(this.#expiry());
    }
    if (window.wasWritten) this.#failedFreezes += 1;
    await this.#letRun(step.kind === "brake" ? step.thawedMs : THAWED_MS);
    await this.#rest.collect();
    this.#note("brake", blocks);
    return undefined;
  }

  async #readFrozen(): Promise<FrozenWindow> {
    const { progress } = this.#flush;
    const { hooks, freezing } = this.#plan;
    progress.hold();
    try {
      const [rest, memory, bounds] = [this.#rest, this.#memory, this.#bounds];
      const { targets } = freezing;
      const window = await readFrozen({ flush: this.#flush, rest, memory, hooks, targets, bounds });
      this.#mounts = window.mounts;
      this.#freezeMs = learnFreezeMs(this.#freezeMs, window.freezeMs);
      this.#longestFreezeMs = Math.max(this.#longestFreezeMs ?? 0, window.frozenMs);
      this.#freezeCount += 1;
      return window;
    } finally {
      progress.release();
    }
  }

  #reachedBy({ isStill, expired, mounts, capturedAt }: FrozenWindow): Reached | undefined {
    if (!isStill) return undefined;
    if (!this.#isSound()) return { consistency: "fuzzy", shortfall: UNSEEN, capturedAt };
    if (expired) return { consistency: "quiet", shortfall: this.#expiry(), capturedAt };
    const moving = mounts.find(({ outcome }) => outcome !== "frozen" && outcome !== "read-only");
    if (moving === undefined) return { consistency: "frozen", shortfall: "", capturedAt };
    const { mountpoint, fileSystem, outcome } = moving;
    const shortfall = `${mountpoint} (${fileSystem}) could not be frozen: ${outcome}`;
    return { consistency: "quiet", shortfall, capturedAt };
  }

  /** Lets the writers of the disk go on for a while, and our uploads. */
  async #letRun(thawedMs: number): Promise<void> {
    this.#ownWrites.goOn();
    this.#memory.release();
    await new Promise((resolve) => setTimeout(resolve, thawedMs));
    await this.#memory.roomFor(ROOM_BYTES);
    await this.#ownWrites.stop();
  }

  /** Every block has to be read once, whatever is written meanwhile: the rest is for the next backup. */
  async #giveUp(reason: string): Promise<Reached> {
    await this.#plan.hooks.end();
    this.#isClosingIn = false;
    this.#ownWrites.goOn();
    await this.#memory.emptied();
    if (!this.#rest.isNewest) {
      const { blocks } = this.#rest;
      await this.#rest.stream();
      await this.#rest.collect();
      this.#note("pass", blocks);
    }
    return this.#withoutFreeze(reason);
  }

  /** @param shortfall Why nothing is frozen. */
  #withoutFreeze(shortfall: string): Reached {
    const capturedAt = this.#flush.context.clock.now();
    if (!this.#isSound()) return { consistency: "fuzzy", shortfall: UNSEEN, capturedAt };
    return { consistency: this.#rest.isEmpty ? "quiet" : "fuzzy", shortfall, capturedAt };
  }

  /** Of any pass: an unseen write may have changed a block that no later pass read again. */
  #isSound(): boolean {
    const { disk } = this.#flush;
    const taints = taintsBetween(this.#plan.taintsAtStart, taintsOf(disk));
    return disk.trackingFacts?.seesEveryWrite === true && taints.length === 0;
  }

  #note(kind: Stretch["kind"], blocksBefore: number): void {
    this.#stretches.push({ kind, blocksBefore, blocksAfter: this.#rest.blocks });
  }

  #expiry(): string {
    return `the freeze limit of ${formatDuration(this.#bounds.limitMs)} passed`;
  }
}
