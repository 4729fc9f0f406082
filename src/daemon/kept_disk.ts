/** One disk that the daemon looks after: what it knows of it. */
import type { ActivityDocument, DiskDocument, FlushDocument } from "../api/schemas.ts";
import type { BlockExtent } from "../core/extent.ts";
import type { DiskView } from "../job/disk_view.ts";
import { type DiskDecision, type DiskFacts, decideBy } from "../job/due.ts";
import type { FlushResult } from "../job/flush.ts";
import type { TriggerPolicy } from "../trigger/policy.ts";
import { type DiskAgenda, diskAgenda } from "./agenda.ts";

/** Parts of a disk whose changes are counted apart. */
const CELLS_MAX = 1024;

export class KeptDisk {
  readonly device: string;
  /** False: somebody has asked not to track it. */
  isWanted = true;
  /** Once tracked, it is taken up by nobody but who stopped it. */
  wasTracked = false;
  /** What its repository says; undefined: it is to be read. */
  facts: DiskFacts | undefined;
  /** That is being read. */
  isLooking = false;
  /** In a row. */
  failures = 0;
  retryAtMs: number | undefined;
  /** Waiting or under way. */
  flush: FlushDocument | undefined;
  readonly totals: DiskDocument["totals"] = {
    ...{ flushesDone: 0, flushesFailed: 0, bytesRead: 0, bytesStored: 0 },
    ...{ lastFlushMs: null, lastFreezeMs: null },
  };
  #view: DiskView | undefined;
  #changedBlocks: number | undefined;
  #cells: number[] = [];

  constructor(device: string) {
    this.device = device;
  }

  get view(): DiskView | undefined {
    return this.#view;
  }

  /** Takes over how it stands. What the kernel counts is right, whatever was heard. */
  see(view: DiskView): void {
    this.#view = view;
    const counted = view.changedBlocks(this.facts?.repositoryId);
    // Less than before: somebody has collected, so there may be a newer backup.
    if (counted !== undefined && counted < (this.#changedBlocks ?? 0)) this.#collected();
    this.#changedBlocks = counted;
    if (view.slot !== undefined) this.wasTracked = true;
    const cells = Math.ceil(view.blockCount / this.#blocksPerCell(view));
    if (this.#cells.length !== cells) this.#cells = new Array<number>(cells).fill(0);
  }

  /** Takes over that blocks have turned dirty. */
  hear(extents: readonly BlockExtent[]): void {
    const view = this.#view;
    if (view === undefined) return;
    const blocksPerCell = this.#blocksPerCell(view);
    for (const { firstBlock, blockCount } of extents) {
      this.#changedBlocks = (this.#changedBlocks ?? 0) + blockCount;
      for (let block = firstBlock; block < firstBlock + blockCount; ) {
        const cell = Math.floor(block / blocksPerCell);
        const end = Math.min((cell + 1) * blocksPerCell, firstBlock + blockCount);
        this.#cells[cell] = (this.#cells[cell] ?? 0) + end - block;
        block = end;
      }
    }
  }

  /** A backup was taken. How many blocks have changed since, the next look says. */
  noteBackup({ result, repositoryId }: { result: FlushResult; repositoryId: string }): void {
    const { backupId, capturedAt, consistency, disk } = result;
    this.facts = { repositoryId, diskName: disk, newest: { backupId, capturedAt, consistency } };
    this.#changedBlocks = 0;
    this.#cells.fill(0);
    this.totals.flushesDone += 1;
    this.totals.bytesRead += result.bytesRead;
    this.totals.bytesStored += result.bytesStored;
    this.totals.lastFlushMs = result.durationMs;
    this.totals.lastFreezeMs = result.freezeMs;
  }

  /** Undefined without a policy, or while too little is known. */
  decide(policy: TriggerPolicy | undefined, vmId: string, nowMs: number): DiskDecision | undefined {
    const { facts } = this;
    const view = this.#view;
    if (!policy || facts === undefined || !view || view.failure !== undefined) return undefined;
    const { sectorCount } = view;
    const state = { vmId, sectorCount, changedBlocks: this.#changedBlocks, ...facts };
    return decideBy(policy, state, nowMs);
  }

  agenda(decision: DiskDecision | undefined, nowMs: number): DiskAgenda {
    const isThere = this.#view !== undefined && this.#view.failure === undefined;
    const isBusy = !isThere || this.isLooking || this.flush !== undefined;
    const isKnown = this.facts !== undefined;
    return diskAgenda({ isBusy, isKnown, retryAtMs: this.retryAtMs, decision }, nowMs);
  }

  document(decision: DiskDecision | undefined, nowMs: number): DiskDocument {
    const view = this.#view?.failure === undefined ? this.#view : undefined;
    const { facts, retryAtMs = nowMs } = this;
    return {
      ...placeOf(view),
      device: this.device,
      diskName: facts?.diskName ?? null,
      changedBlocks: this.#changedBlocks ?? null,
      newest: newestOf(facts),
      isNewestKnown: facts !== undefined,
      next: decision ? nextOf(decision, nowMs) : null,
      retryAt: retryAtMs > nowMs ? new Date(retryAtMs).toISOString() : null,
      flush: this.flush ?? null,
      totals: { ...this.totals },
    };
  }

  activity(): ActivityDocument | undefined {
    const view = this.#view;
    if (view?.slot === undefined) return undefined;
    const placed = this.#cells.reduce((sum, count) => sum + count, 0);
    return {
      device: this.device,
      blockCount: view.blockCount,
      blocksPerCell: this.#blocksPerCell(view),
      cells: [...this.#cells],
      unplacedBlocks: Math.max(0, (this.#changedBlocks ?? 0) - placed),
    };
  }

  #collected(): void {
    this.facts = undefined;
    this.#cells.fill(0);
  }

  #blocksPerCell({ blockCount }: DiskView): number {
    return Math.max(1, Math.ceil(blockCount / CELLS_MAX));
  }
}

function placeOf(view: DiskView | undefined) {
  return {
    sizeBytes: view ? view.sectorCount * 512 : null,
    isTracked: view?.slot !== undefined,
    blockBytes: view?.blockBytes ?? null,
    taints: view?.taints ?? [],
  };
}

function newestOf(facts: DiskFacts | undefined): DiskDocument["newest"] {
  if (facts?.newest === undefined) return null;
  const { backupId, capturedAt, consistency } = facts.newest;
  return { backupId, capturedAt, consistency };
}

/** What the decision says, as a document. */
function nextOf(decision: DiskDecision, nowMs: number): NonNullable<DiskDocument["next"]> {
  const { isDue, why } = decision;
  const atMs = isDue ? nowMs : decision.atMs;
  return { isDue, why, at: atMs === null ? null : new Date(atMs).toISOString() };
}
