import type { BlockExtent } from "../core/extent.ts";
import type { DecodedIndex } from "../core/index_codec.ts";
import { indexKey } from "../core/index_codec.ts";
import { WINDOW_BLOCKS } from "../core/limits.ts";
import type { Manifest, ManifestIndex, StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { type LostIndex, type PlanStep, RestorePlanner } from "../core/restore_plan.ts";
import { assert, IbackupError } from "../errors.ts";
import type { Repository } from "./repository.ts";

const INDEX_GETS_IN_FLIGHT = 16;

export interface ChainPlanOptions {
  onlyOwn?: boolean | undefined;
  extents?: readonly BlockExtent[] | undefined;
  signal?: AbortSignal | undefined;
}

/** A disk that was smaller then: what older backups held beyond its end is gone for good. */
interface EndOfDisk {
  endOfDisk: number;
}

type LayerRef = EndOfDisk | { manifest: Manifest; index: ManifestIndex };

/**
 * Plans the reads of a chain, window by window. An index object that cannot be read makes "lost"
 * steps, never an error: the caller decides what damage means.
 *
 * @param chain Base first.
 * @throws What the store throws, and the reason of the signal.
 */
export async function* planChain(
  repository: Repository,
  chain: readonly StoredManifest[],
  options: ChainPlanOptions,
): AsyncGenerator<PlanStep, void, undefined> {
  const newest = chain.at(-1)?.manifest;
  assert(newest !== undefined, "a chain has a backup");
  const sources = options.onlyOwn === true ? chain.slice(-1) : chain;
  const planner = new RestorePlanner();
  for (const window of windowsOf(newest.blockCount, options.extents)) {
    options.signal?.throwIfAborted();
    planner.begin(window);
    const load = (ref: LayerRef) => loadLayer(repository, ref);
    const layers = mapInOrder(layersOf(sources, window), INDEX_GETS_IN_FLIGHT, load);
    for await (const layer of layers) {
      if ("endOfDisk" in layer) planner.cutOff(layer.endOfDisk);
      else if ("reason" in layer) planner.applyLost(layer, layer.range);
      else planner.apply(layer);
    }
    if (options.extents) planner.keepOnly(options.extents);
    yield* planner.steps();
  }
}

/** What the backups have to say of a window, oldest first. */
function* layersOf(
  sources: readonly StoredManifest[],
  window: BlockExtent,
): Generator<LayerRef, void, undefined> {
  for (const { manifest } of sources) {
    for (const index of manifest.indexes) {
      if (intersects(index, window)) yield { manifest, index };
    }
    // After its own: what it has from backups that were removed may lie past its end too.
    const endOfDisk = manifest.blockCount;
    if (endOfDisk < window.firstBlock + window.blockCount) yield { endOfDisk };
  }
}

/** The windows of a disk, each narrowed down to what lies between its first and last wanted block. */
function* windowsOf(
  blockCount: number,
  extents: readonly BlockExtent[] | undefined,
): Generator<BlockExtent> {
  const wanted = extents ?? [{ firstBlock: 0, blockCount }];
  for (let firstBlock = 0; firstBlock < blockCount; firstBlock += WINDOW_BLOCKS) {
    const end = Math.min(firstBlock + WINDOW_BLOCKS, blockCount);
    const window = { firstBlock, blockCount: end - firstBlock };
    const inside = wanted.filter((extent) => intersects(extent, window));
    const [first] = inside;
    const last = inside.at(-1);
    if (first === undefined || last === undefined) continue;
    const from = Math.max(first.firstBlock, firstBlock);
    const to = Math.min(last.firstBlock + last.blockCount, end);
    yield { firstBlock: from, blockCount: to - from };
  }
}

function intersects(left: BlockExtent, right: BlockExtent): boolean {
  const leftEnd = left.firstBlock + left.blockCount;
  const rightEnd = right.firstBlock + right.blockCount;
  return left.firstBlock < rightEnd && right.firstBlock < leftEnd;
}

async function loadLayer(
  repository: Repository,
  ref: LayerRef,
): Promise<EndOfDisk | DecodedIndex | (LostIndex & { range: BlockExtent })> {
  if ("endOfDisk" in ref) return ref;
  const { manifest, index } = ref;
  try {
    return await repository.indexes.read(manifest, index);
  } catch (error) {
    // A newer format stays an error of its own: the data are fine, this ibackup is too old.
    if (!(error instanceof IbackupError) || error.code !== "CORRUPT_DATA") throw error;
    return { object: indexKey(index.name), reason: error.why, range: index };
  }
}
