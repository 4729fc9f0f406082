/** Holds what a backup says of a disk against what is on it. */
import { Buffer } from "node:buffer";
import { BlockSet } from "../core/block_set.ts";
import type { BlockExtent } from "../core/extent.ts";
import { forEachConcurrently } from "../core/pool.ts";
import { cutExtents } from "../core/read_plan.ts";
import type { Piece } from "../repo/block_reader.ts";
import { alignedBytes } from "../runtime/aligned.ts";

export interface Comparable {
  blockBytes: number;
  /** Blocks of the disk; pieces past it are not looked at. */
  blockCount: number;
  /** Fills `bytes`, aligned memory, with the content of an extent of the disk. */
  readInto(extent: BlockExtent, bytes: Uint8Array): Promise<void>;
}

const PIECES_IN_FLIGHT = 4;
const BYTES_PER_READ = 1 << 20;

/**
 * Compares byte for byte.
 *
 * @param pieces What should be there, in any order.
 * @param advance Told of the bytes that have been compared.
 * @returns The blocks that differ.
 */
export async function findDifferences(
  pieces: AsyncIterable<Piece>,
  disk: Comparable,
  advance: (bytes: number) => void,
): Promise<BlockSet> {
  const different = new BlockSet(disk.blockCount);
  const blocksPerRead = Math.max(1, Math.floor(BYTES_PER_READ / disk.blockBytes));
  const zeroes = new Uint8Array(blocksPerRead * disk.blockBytes);
  const idleBuffers: Uint8Array[] = [];

  await forEachConcurrently(pieces, PIECES_IN_FLIGHT, async (piece) => {
    const buffer = idleBuffers.pop() ?? alignedBytes(zeroes.length);
    for (const extent of cutExtents(clip(piece, disk.blockCount), blocksPerRead)) {
      const lengthBytes = extent.blockCount * disk.blockBytes;
      const actual = buffer.subarray(0, lengthBytes);
      await disk.readInto(extent, actual);
      const at = (extent.firstBlock - piece.firstBlock) * disk.blockBytes;
      const expected =
        piece.kind === "zero"
          ? zeroes.subarray(0, lengthBytes)
          : piece.bytes.subarray(at, at + lengthBytes);
      addDifferences(different, extent, [expected, actual]);
      advance(lengthBytes);
    }
    idleBuffers.push(buffer);
  });
  return different;
}

function clip({ firstBlock, blockCount }: BlockExtent, diskBlocks: number): BlockExtent[] {
  const end = Math.min(firstBlock + blockCount, diskBlocks);
  return end > firstBlock ? [{ firstBlock, blockCount: end - firstBlock }] : [];
}

/** Adds the blocks of an extent in which two contents differ. */
function addDifferences(
  different: BlockSet,
  { firstBlock, blockCount }: BlockExtent,
  [expected, actual]: [Uint8Array, Uint8Array],
): void {
  if (Buffer.compare(expected, actual) === 0) return;
  const blockBytes = expected.length / blockCount;
  for (let i = 0; i < blockCount; i++) {
    const [from, to] = [i * blockBytes, (i + 1) * blockBytes];
    if (Buffer.compare(expected.subarray(from, to), actual.subarray(from, to)) !== 0) {
      different.add(firstBlock + i, 1);
    }
  }
}
