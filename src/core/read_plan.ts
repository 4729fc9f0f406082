import { assert } from "../errors.ts";
import type { BlockExtent } from "./extent.ts";

/** One read of the disk: a run of blocks, and which of them were asked for. */
export interface DiskRead extends BlockExtent {
  wanted: BlockExtent[];
}

export interface ReadPlanOptions {
  /** Longest read, in blocks. */
  blocksPerRead: number;
  /**
   * Widest run of unwanted blocks that is read along. One larger read beats two small ones, so a
   * densely dirty region is read as one range.
   */
  gapBlocks: number;
}

/**
 * Groups extents into reads.
 *
 * @param extents Ascending and disjoint.
 * @returns Ascending reads that begin and end with a wanted block; the extents are cut where a
 *   read ends, and each wanted block is in exactly one of them.
 */
export function* planDiskReads(
  extents: Iterable<BlockExtent>,
  { blocksPerRead, gapBlocks }: ReadPlanOptions,
): Generator<DiskRead, void, undefined> {
  assert(blocksPerRead > 0 && gapBlocks >= 0, "a read has a length");
  let read: DiskRead | undefined;
  for (const piece of cutExtents(extents, blocksPerRead)) {
    const joins =
      read !== undefined &&
      piece.firstBlock - endOf(read) <= gapBlocks &&
      endOf(piece) - read.firstBlock <= blocksPerRead;
    if (read !== undefined && joins) {
      read.wanted.push(piece);
      read.blockCount = endOf(piece) - read.firstBlock;
    } else {
      if (read !== undefined) yield read;
      read = { ...piece, wanted: [piece] };
    }
  }
  if (read !== undefined) yield read;
}

/** The same blocks as extents of at most `blockCountMax` blocks. */
export function* cutExtents(
  extents: Iterable<BlockExtent>,
  blockCountMax: number,
): Generator<BlockExtent, void, undefined> {
  for (const { firstBlock, blockCount } of extents) {
    for (let done = 0; done < blockCount; done += blockCountMax) {
      const piece = Math.min(blockCountMax, blockCount - done);
      yield { firstBlock: firstBlock + done, blockCount: piece };
    }
  }
}

function endOf({ firstBlock, blockCount }: BlockExtent): number {
  return firstBlock + blockCount;
}
