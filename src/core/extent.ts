/** A run of blocks: `[firstBlock, firstBlock + blockCount)`. */
export interface BlockExtent {
  firstBlock: number;
  blockCount: number;
}
