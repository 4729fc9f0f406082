import type { BlockExtent } from "../core/extent.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import type { PlannedRequest, PlanStep } from "../core/restore_plan.ts";
import { assert } from "../errors.ts";
import { planChain } from "./chain_plan.ts";
import { type Damage, damageError } from "./damage.ts";
import { type DecodedFrame, decodeFrame, type FetchedFrame, fetchFrames } from "./frame_reader.ts";
import type { Repository } from "./repository.ts";

/** Ranged reads in flight: 4 MiB each at most. */
const REQUESTS_IN_FLIGHT = 4;
/** Frames being decompressed or waiting to be taken: 256 KiB each where blocks have 4 KiB. */
const FRAMES_IN_FLIGHT = 8;

export type { Damage } from "./damage.ts";

/** Some blocks of the disk, in one piece. */
export type Piece =
  | { kind: "data"; firstBlock: number; blockCount: number; bytes: Uint8Array }
  | { kind: "zero"; firstBlock: number; blockCount: number };

export interface ReadOptions {
  /** Only what the last backup of the chain holds itself; blocks that it lacks are fine. */
  onlyOwn?: boolean | undefined;
  /** Only these blocks. Default: the whole disk. Ascending and disjoint. */
  extents?: readonly BlockExtent[] | undefined;
  /** Ranged reads of the store in flight. Default 4. */
  concurrency?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Told of damage, and the rest is read. Without it the first damage throws CORRUPT_DATA. */
  onDamage?: ((damage: Damage) => void) | undefined;
}

/** What `readBlocks` would do. */
export interface ReadSummary {
  /** Ranged reads of packs; those of index objects are not counted. */
  requests: number;
  bytesFetched: number;
  dataBlocks: number;
  zeroBlocks: number;
  /** Blocks that no readable index object speaks of: damage. */
  missingBlocks: number;
}

/** What a step of the plan became: pieces, damage, or frames still to be decoded. */
type Fetched = DecodedFrame | { kind: "zero"; extent: BlockExtent } | FetchedFrame;

/**
 * Reads the disk as the last backup of the chain left it: each block exactly once, newest wins.
 *
 * Pieces come in an order that depends only on the backups, ascending by window of 2^22 blocks but
 * not within one. Each stored frame is fetched once at most; memory is bounded.
 *
 * @param chain Base first, from `chainOf`.
 * @throws IbackupError CORRUPT_DATA (see `onDamage`), or what the store throws.
 */
export async function* readBlocks(
  repository: Repository,
  chain: readonly StoredManifest[],
  options: ReadOptions = {},
): AsyncGenerator<Piece, void, undefined> {
  const newest = chain.at(-1)?.manifest;
  assert(newest !== undefined, "a chain has a backup");
  const { blockBytes } = newest;
  const decode = async (fetched: Fetched) =>
    "frame" in fetched ? await decodeFrame(fetched, blockBytes) : fetched;
  const fetched = fetchSteps(repository, chain, options);
  for await (const result of mapInOrder(fetched, FRAMES_IN_FLIGHT, decode)) {
    options.signal?.throwIfAborted();
    if (result.kind === "damage") report(result.damage, options);
    else if (result.kind === "zero") yield { kind: "zero", ...result.extent };
    else yield* piecesOf(result, blockBytes);
  }
}

function* piecesOf(
  { wanted, raw }: DecodedFrame & { kind: "blocks" },
  blockBytes: number,
): Generator<Piece> {
  for (const { firstBlock, blockCount, blockInFrame } of wanted) {
    const start = blockInFrame * blockBytes;
    const bytes = raw.subarray(start, start + blockCount * blockBytes);
    yield { kind: "data", firstBlock, blockCount, bytes };
  }
}

/** Carries out the plan, several requests ahead. */
async function* fetchSteps(
  repository: Repository,
  chain: readonly StoredManifest[],
  options: ReadOptions,
): AsyncGenerator<Fetched, void, undefined> {
  const steps = planChain(repository, chain, options);
  const fetch = async (step: PlanStep): Promise<Fetched[]> => {
    if (step.kind === "request") return await fetchFrames(repository.store, step);
    const { firstBlock, blockCount } = step;
    if (step.kind === "zero") return [{ kind: "zero", extent: { firstBlock, blockCount } }];
    const damage = damageOf(step, chain, options);
    return damage ? [{ kind: "damage", damage }] : [];
  };
  const concurrency = options.concurrency ?? REQUESTS_IN_FLIGHT;
  for await (const results of mapInOrder(steps, concurrency, fetch)) yield* results;
}

/** What it means that blocks cannot be planned; undefined where they need not be there. */
function damageOf(
  step: PlanStep & { kind: "missing" | "lost" },
  chain: readonly StoredManifest[],
  options: ReadOptions,
): Damage | undefined {
  const { firstBlock, blockCount } = step;
  const extents = [{ firstBlock, blockCount }];
  if (step.kind === "lost") return { ...step.index, extents };
  if (options.onlyOwn === true) return undefined;
  const object = chain.at(-1)?.key ?? "";
  return { object, reason: "no backup of its chain holds these blocks", extents };
}

/**
 * Plans like `readBlocks` and counts, reading no pack.
 *
 * @throws IbackupError CORRUPT_DATA for an index object that cannot be read, or blocks that nobody
 *   holds (see `onDamage`); damage in packs is not looked for.
 */
export async function planReads(
  repository: Repository,
  chain: readonly StoredManifest[],
  options: ReadOptions = {},
): Promise<ReadSummary> {
  const summary = {
    requests: 0,
    bytesFetched: 0,
    dataBlocks: 0,
    zeroBlocks: 0,
    missingBlocks: 0,
  };
  for await (const step of planChain(repository, chain, options)) {
    if (step.kind === "request") {
      summary.requests += 1;
      summary.bytesFetched += step.length;
      summary.dataBlocks += wantedBlocks(step);
      continue;
    }
    const damage = step.kind === "zero" ? undefined : damageOf(step, chain, options);
    if (step.kind === "zero") summary.zeroBlocks += step.blockCount;
    if (!damage) continue;
    report(damage, options);
    summary.missingBlocks += step.blockCount;
  }
  return summary;
}

function wantedBlocks({ frames }: PlannedRequest): number {
  return frames
    .flatMap(({ wanted }) => wanted)
    .reduce((sum, { blockCount }) => sum + blockCount, 0);
}

function report(damage: Damage, { onDamage }: ReadOptions): void {
  if (!onDamage) throw damageError(damage);
  onDamage(damage);
}
