import type { BlockExtent } from "../core/extent.ts";
import type { StoredManifest } from "../core/manifest.ts";
import type { Repository } from "./repository.ts";

/** Some blocks of the disk, in one piece. */
export type Piece =
  | { kind: "data"; firstBlock: number; blockCount: number; bytes: Uint8Array }
  | { kind: "zero"; firstBlock: number; blockCount: number };

/** Blocks that cannot be given, and the object whose fault it is. */
export interface Damage {
  /** Key of the object. */
  object: string;
  reason: string;
  /** Ascending. */
  extents: BlockExtent[];
}

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
  _repository: Repository,
  _chain: readonly StoredManifest[],
  _options: ReadOptions = {},
): AsyncGenerator<Piece, void, undefined> {
  yield* [];
  throw new Error("Not written yet");
}

/** Plans like `readBlocks` and counts, reading no pack. */
export async function planReads(
  _repository: Repository,
  _chain: readonly StoredManifest[],
  _options: ReadOptions = {},
): Promise<ReadSummary> {
  throw new Error("Not written yet");
}
