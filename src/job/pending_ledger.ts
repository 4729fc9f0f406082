/** One flush's dealings with the pending set of its repository. */
import type { BlockSet } from "../core/block_set.ts";
import type { PendingFacts, TrackingFacts } from "../core/gap_check.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import type { Repository } from "../repo/repository.ts";
import { PendingSet } from "../tracker/pending.ts";
import type { PendingState } from "../tracker/pending_state.ts";
import type { JobContext } from "./context.ts";
import type { SourceDisk } from "./source_disk.ts";

/** Names a backup, and the very manifest of it. */
interface StoredId {
  backupId: string;
  sha256: string;
}

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
  prepareCommit(backup: StoredId, taints: Readonly<Record<string, number>>): void;
  commit(): void;
}

interface LedgerParts {
  disk: SourceDisk;
  repository: Repository;
  parent: StoredManifest | undefined;
}

/**
 * @returns Undefined when the disk is not tracked: then there is nothing to remember.
 * @throws IbackupError IO when the runtime folder has no room, as all that the ledger does; no block
 *   is forgotten by it.
 */
export function openLedger(context: JobContext, flush: LedgerParts): PendingLedger | undefined {
  const facts = flush.disk.trackingFacts;
  if (facts === undefined) return undefined;
  const runtimeFolder = context.runtimeDir();
  const keep = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw cannotKeep(runtimeFolder, error);
    }
  };
  const ledger = keep(() => open(runtimeFolder, facts, flush));
  return {
    remembered: ledger.remembered,
    get epoch() {
      return ledger.epoch;
    },
    collect: () =>
      ledger.collect().catch((error: unknown) => {
        throw cannotKeep(runtimeFolder, error);
      }),
    pendingBlocks: () => keep(() => ledger.pendingBlocks()),
    prepareCommit: (backupId, taints) => keep(() => ledger.prepareCommit(backupId, taints)),
    commit: () => keep(() => ledger.commit()),
  };
}

/** What the system says is no bug; anything else that is not told to the user is one. */
function cannotKeep(folder: string, error: unknown): unknown {
  const code = systemCodeOf(error);
  if (error instanceof IbackupError || code === undefined) return error;
  return new IbackupError("IO", `Cannot keep the numbers of the changed blocks in "${folder}"`, {
    why: messageOf(error),
    fix:
      code === "ENOSPC"
        ? `make room there (\`df ${folder}\`), then run the flush again: no block was forgotten`
        : "see `dmesg`; then run the flush again: no block was forgotten",
    cause: error,
  });
}

function open(
  runtimeFolder: string,
  facts: TrackingFacts,
  { disk, repository, parent }: LedgerParts,
): PendingLedger {
  const place = { runtimeFolder, range: disk.device, repositoryId: repository.id };
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
  pending.begin(parent && { backupId: parent.manifest.backupId, sha256: parent.sha256 });

  return {
    // After `begin`, which may have found a commit to complete.
    remembered: factsOf(continues ? pending.state : state, session),
    get epoch() {
      return pending.epoch;
    },
    collect: async () => await disk.collect(pending),
    pendingBlocks: () => pending.read(),
    prepareCommit: (backup, taints) =>
      pending.prepareCommit({ ...backup, firstEpoch: pending.epoch, taints }),
    commit: () => pending.commit(),
  };
}

/** Counters begin at nothing with each session: those of another one are not to be compared. */
function factsOf(state: PendingState | undefined, session: string): PendingFacts | undefined {
  if (state === undefined) return undefined;
  const taints = state.session === session ? state.taints : {};
  return { ...state, diskSequence: state.diskSequence, taints };
}
