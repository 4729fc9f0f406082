import { assert } from "../errors.ts";
import type { BlockExtent } from "./extent.ts";
import type { DecodedIndex, PackRef } from "./index_codec.ts";
import { WINDOW_BLOCKS } from "./limits.ts";
import { type OwnedRun, OwnerMap } from "./owner_map.ts";
import { at, type FramePlace, frameBlocks, placeOf, RECORD_KIND, windowOf } from "./records.ts";

/** Longest ranged read of a pack, in bytes; a longer frame is read alone. */
const REQUEST_BYTES_MAX = 4 << 20;
/** Frames that are looked at together for reads to merge. */
const FRAMES_PER_BATCH = 1024;

/** Blocks of a frame that are wanted: they lie one after another in the frame and on the disk. */
export interface WantedRun extends BlockExtent {
  /** Number of the first one within the frame. */
  blockInFrame: number;
}

/** A frame to fetch. */
export interface PlannedFrame {
  place: FramePlace;
  /** Blocks in the frame, wanted or not. */
  frameBlocks: number;
  /** Never empty, ascending. */
  wanted: WantedRun[];
}

/** One ranged read: frames that stand back to back in a pack. */
export interface PlannedRequest {
  kind: "request";
  pack: PackRef;
  offset: number;
  length: number;
  frames: PlannedFrame[];
}

/** An index object that cannot be read: all that it may speak of is lost. */
export interface LostIndex {
  object: string;
  reason: string;
}

/** What to do next for a restore. */
export type PlanStep =
  | PlannedRequest
  | ({ kind: "zero" } & BlockExtent)
  /** Nobody speaks of these blocks. */
  | ({ kind: "missing" } & BlockExtent)
  | ({ kind: "lost"; index: LostIndex } & BlockExtent);

const OWNER = { missing: 0, zero: 1, unwanted: 2, first: 3 } as const;

/** What was applied to a window: its owners are the numbers from `firstOwner` on. */
interface Layer {
  firstOwner: number;
  source: DecodedIndex | LostIndex;
}

interface OwnedFrame extends PlannedFrame {
  pack: PackRef;
}

/**
 * Plans the reads of one window of a disk after another.
 *
 * For each window: `begin`, `apply` what the backups say from the oldest to the newest, `steps`.
 */
export class RestorePlanner {
  readonly #owners = new OwnerMap();
  #layers: Layer[] = [];
  #nextOwner: number = OWNER.first;

  /** @param window A window, or the part of it that is wanted. */
  begin(window: BlockExtent): void {
    const lastBlock = window.firstBlock + window.blockCount - 1;
    assert(windowOf(window.firstBlock) === windowOf(lastBlock), "one window at a time");
    this.#owners.begin({ ...window, owner: OWNER.missing });
    this.#layers = [];
    this.#nextOwner = OWNER.first;
  }

  /** Overrides what was applied before with the records of an index object, in their order. */
  apply(index: DecodedIndex): void {
    const { records } = index;
    const window = windowOf(this.#owners.firstBlock);
    const firstOwner = this.#addLayer(index, records.count);
    for (let record = 0; record < records.count; record++) {
      const start = at(records.extentStarts, record);
      const end = at(records.extentStarts, record + 1);
      const isZero = records.kinds[record] === RECORD_KIND.zero;
      // A data frame lies in one window, so that a look at its first block is enough.
      if (!isZero && windowOf(at(records.firstBlocks, start)) !== window) continue;
      const owner = isZero ? OWNER.zero : firstOwner + record;
      for (let extent = start; extent < end; extent++) {
        this.#owners.fill(at(records.firstBlocks, extent), at(records.blockCounts, extent), owner);
      }
    }
  }

  /** Overrides what was applied before: these blocks are lost, unless something later has them. */
  applyLost(index: LostIndex, { firstBlock, blockCount }: BlockExtent): void {
    this.#owners.fill(firstBlock, blockCount, this.#addLayer(index, 1));
  }

  /** Forgets what was applied before for blocks from `block` on: the disk ended there. */
  cutOff(block: number): void {
    const first = Math.max(block, this.#owners.firstBlock);
    this.#owners.fill(first, this.#owners.endBlock - first, OWNER.missing);
  }

  /** Leaves out all blocks but these. Called after the last `apply`. */
  keepOnly(extents: readonly BlockExtent[]): void {
    const { firstBlock } = this.#owners;
    let unwantedFrom = firstBlock;
    const leaveOut = (end: number) => {
      if (end > unwantedFrom) {
        this.#owners.fill(unwantedFrom, end - unwantedFrom, OWNER.unwanted);
      }
    };
    for (const extent of extents) {
      leaveOut(extent.firstBlock);
      unwantedFrom = Math.max(unwantedFrom, extent.firstBlock + extent.blockCount);
    }
    leaveOut((windowOf(firstBlock) + 1) * WINDOW_BLOCKS);
  }

  /**
   * What to do for this window, each block once. Lazy: done before the next `begin`.
   *
   * Zero, missing and lost runs ascend, and so do requests as far as merging allows.
   */
  *steps(): Generator<PlanStep, void, undefined> {
    const planned = new Uint8Array(this.#nextOwner);
    let batch: OwnedFrame[] = [];
    for (const run of this.#owners.runs()) {
      if (run.owner === OWNER.unwanted || planned[run.owner] === 1) continue;
      const next = this.#nextOf(run);
      if ("kind" in next) {
        yield next;
        continue;
      }
      planned[run.owner] = 1;
      batch.push(next);
      if (batch.length < FRAMES_PER_BATCH) continue;
      yield* mergeRequests(batch);
      batch = [];
    }
    yield* mergeRequests(batch);
  }

  /** The step for a run, or the frame that its first block is in. */
  #nextOf({ firstBlock, blockCount, owner }: OwnedRun): PlanStep | OwnedFrame {
    if (owner === OWNER.missing) return { kind: "missing", firstBlock, blockCount };
    if (owner === OWNER.zero) return { kind: "zero", firstBlock, blockCount };
    const { source, firstOwner } = this.#layerOf(owner);
    if ("reason" in source) return { kind: "lost", index: source, firstBlock, blockCount };
    return this.#planFrame(source, owner - firstOwner, owner);
  }

  #addLayer(source: DecodedIndex | LostIndex, owners: number): number {
    const firstOwner = this.#nextOwner;
    this.#layers.push({ firstOwner, source });
    this.#nextOwner += owners;
    assert(this.#nextOwner < 2 ** 32, "owners fit in 32 bits");
    return firstOwner;
  }

  /** The last layer whose first owner is not above `owner`. */
  #layerOf(owner: number): Layer {
    let low = 0;
    let high = this.#layers.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      const layer = this.#layers[middle];
      if (layer !== undefined && layer.firstOwner <= owner) low = middle;
      else high = middle - 1;
    }
    const layer = this.#layers[low];
    assert(layer !== undefined, "an owner comes from a layer");
    return layer;
  }

  #planFrame(index: DecodedIndex, record: number, owner: number): OwnedFrame {
    const { records, packs } = index;
    const place = placeOf(records, record);
    const pack = packs[place.pack];
    assert(pack !== undefined, "a decoded record is in a pack of its table");
    const wanted: WantedRun[] = [];
    let blockInFrame = 0;
    const end = at(records.extentStarts, record + 1);
    for (let extent = at(records.extentStarts, record); extent < end; extent++) {
      const first = at(records.firstBlocks, extent);
      const blocks = at(records.blockCounts, extent);
      this.#pushOwned(wanted, owner, { firstBlock: first, blockCount: blocks, blockInFrame });
      blockInFrame += blocks;
    }
    return { place, pack, frameBlocks: frameBlocks(records, record), wanted };
  }

  /** Pushes those parts of `run` that still belong to `owner`; the rest of a window has none. */
  #pushOwned(wanted: WantedRun[], owner: number, run: WantedRun): void {
    const end = Math.min(run.firstBlock + run.blockCount, this.#owners.endBlock);
    for (let block = Math.max(run.firstBlock, this.#owners.firstBlock); block < end; ) {
      const part = this.#owners.runAt(block, end);
      if (part.owner === owner) {
        const { firstBlock, blockCount } = part;
        wanted.push({
          firstBlock,
          blockCount,
          blockInFrame: run.blockInFrame + firstBlock - run.firstBlock,
        });
      }
      block += part.blockCount;
    }
  }
}

/** Groups frames by pack, in the order in which the packs come up, and joins neighbours. */
function* mergeRequests(frames: readonly OwnedFrame[]): Generator<PlannedRequest, void, undefined> {
  for (const ofPack of Map.groupBy(frames, ({ pack }) => pack.name).values()) {
    yield* joinNeighbours(ofPack);
  }
}

/** @param frames Of one pack, in any order. */
function joinNeighbours(frames: readonly OwnedFrame[]): PlannedRequest[] {
  const requests: PlannedRequest[] = [];
  for (const frame of frames.toSorted((left, right) => left.place.offset - right.place.offset)) {
    const { offset, storedBytes } = frame.place;
    const last = requests.at(-1);
    const touches = last !== undefined && last.offset + last.length === offset;
    if (touches && last.length + storedBytes <= REQUEST_BYTES_MAX) {
      last.length += storedBytes;
      last.frames.push(frame);
      continue;
    }
    const { pack } = frame;
    requests.push({ kind: "request", pack, offset, length: storedBytes, frames: [frame] });
  }
  return requests;
}
