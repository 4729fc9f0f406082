/** What is on a disk, kept to find the blocks that change. */
import { Buffer } from "node:buffer";
import { BlockSet } from "../../src/core/block_set.ts";
import { openDiskReader } from "../../src/disk/disk_reader.ts";

const BLOCK_BYTES = 4096;

export class DiskImage {
  readonly #device: { path: string; sizeBytes: number };
  readonly #bytes: Buffer;

  constructor(path: string, sizeBytes: number) {
    this.#device = { path, sizeBytes };
    this.#bytes = Buffer.alloc(sizeBytes);
  }

  /** Reads the disk, past the page cache. @returns What differs from the last time. */
  async refresh(): Promise<BlockSet> {
    const reader = await openDiskReader(this.#device, BLOCK_BYTES);
    try {
      const changed = new BlockSet(reader.blockCount);
      const all = BlockSet.full(reader.blockCount);
      for await (const { firstBlock, blockCount, bytes } of reader.read(all.extents())) {
        const known = this.#bytes.subarray(firstBlock * BLOCK_BYTES).subarray(0, bytes.length);
        if (known.equals(bytes)) continue;
        for (let i = 0; i < blockCount; i++) {
          const from = i * BLOCK_BYTES;
          if (known.compare(bytes, from, from + BLOCK_BYTES, from, from + BLOCK_BYTES) !== 0) {
            changed.add(firstBlock + i, 1);
          }
        }
        known.set(bytes);
      }
      return changed;
    } finally {
      await reader.close();
    }
  }
}
