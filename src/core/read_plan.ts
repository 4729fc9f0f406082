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
  for (const extent of extents) {
    let { firstBlock, blockCount } = extent;
    while (blockCount > 0) {
      const room = read === undefined ? 0 : read.firstBlock + blocksPerRead - firstBlock;
      if (read !== undefined && (room <= 0 || firstBlock - endOf(read) > gapBlocks)) {
        yield read;
        read = undefined;
      }
      const taken = Math.min(blockCount, read === undefined ? blocksPerRead : room);
      read ??= { firstBlock, blockCount: 0, wanted: [] };
      read.wanted.push({ firstBlock, blockCount: taken });
      read.blockCount = firstBlock + taken - read.firstBlock;
      firstBlock += taken;
      blockCount -= taken;
    }
  }
  if (read !== undefined) yield read;
}

function endOf({ firstBlock, blockCount }: BlockExtent): number {
  return firstBlock + blockCount;
}
