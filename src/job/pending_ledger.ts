/** One flush's dealings with the pending set of its repository. */
import type { BlockSet } from "../core/block_set.ts";
import type { PendingFacts } from "../core/gap_check.ts";
import type { StoredManifest } from "../core/manifest.ts";
import type { Repository } from "../repo/repository.ts";
import { PendingSet } from "../tracker/pending.ts";
import type { PendingState } from "../tracker/pending_state.ts";
import type { JobContext } from "./context.ts";
import type { SourceDisk } from "./source_disk.ts";

export interface PendingLedger {
  /** What was remembered when the flush began, for the gap check. */
  readonly remembered: PendingFacts | undefined;
  readonly epoch: number;
  /** Empties the kernel's bitmap into the pending sets; the blocks that were in it. */
  collect(): Promise<BlockSet>;
  /** All that was ever collected for this repository and not yet committed. */
  pendingBlocks(): BlockSet;
  /**
   * To be called before the manifest is put. The blocks of the newest collect are not in the
   * backup; all older ones are.
   */
  prepareCommit(backupId: string, taints: Readonly<Record<string, number>>): void;
  commit(): void;
}

/** @returns Undefined when the disk is not tracked: then there is nothing to remember. */
export function openLedger(
  context: JobContext,
  flush: { disk: SourceDisk; repository: Repository; parent: StoredManifest | undefined },
): PendingLedger | undefined {
  const { disk, repository, parent } = flush;
  const facts = disk.trackingFacts;
  if (facts === undefined) return undefined;
  const place = {
    runtimeFolder: context.runtimeDir(),
    range: disk.device,
    repositoryId: repository.id,
  };
  const pending = new PendingSet(place, disk.blockCount);
  const { bootId, session, diskSequence, taints } = facts;
  const { sizeBytes } = disk.device;
  const state = pending.state;
  const continues =
    state !== undefined &&
    state.bootId === bootId &&
    state.session === session &&
    state.diskSequence === diskSequence &&
    state.sizeBytes === sizeBytes;
  if (!continues) pending.reset({ bootId, session, diskSequence, taints, sizeBytes });
  pending.begin(parent?.manifest.backupId);

  return {
    // After `begin`, which may have found a commit to complete.
    remembered: factsOf(continues ? pending.state : state, session),
    get epoch() {
      return pending.epoch;
    },
    collect: () => disk.collect(pending),
    pendingBlocks: () => pending.read(),
    prepareCommit: (backupId, taints) =>
      pending.prepareCommit({ backupId, firstEpoch: pending.epoch, taints }),
    commit: () => pending.commit(),
  };
}

/** Counters begin at nothing with each session: those of another one are not to be compared. */
function factsOf(state: PendingState | undefined, session: string): PendingFacts | undefined {
  if (state === undefined) return undefined;
  const taints = state.session === session ? state.taints : {};
  return { ...state, diskSequence: state.diskSequence, taints };
}
