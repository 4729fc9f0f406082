/** What a restore of a backup gives, in memory. */
import { Buffer } from "node:buffer";
import { chainOf } from "../../src/core/chain.ts";
import { readBlocks } from "../../src/repo/block_reader.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";

/** @throws Error also when a block does not come exactly once. */
export async function contentOf(url: string, backupId: string): Promise<Buffer> {
  const repository = await openRepository(await openStore(url));
  const chain = chainOf(await repository.manifests(), backupId);
  const last = chain.at(-1);
  if (last === undefined) throw new Error("an empty chain");
  const { blockBytes, blockCount, disk } = last.manifest;
  const content = Buffer.alloc(blockCount * blockBytes, 0xee);
  const seen = new Uint8Array(blockCount);
  for await (const piece of readBlocks(repository, chain)) {
    const [start, length] = [piece.firstBlock * blockBytes, piece.blockCount * blockBytes];
    if (piece.kind === "data") content.set(piece.bytes, start);
    else content.fill(0, start, start + length);
    for (let i = 0; i < piece.blockCount; i++) {
      seen[piece.firstBlock + i] = 1 + (seen[piece.firstBlock + i] ?? 0);
    }
  }
  const wrong = seen.findIndex((count) => count !== 1);
  if (wrong >= 0) throw new Error(`${backupId}: block ${wrong} comes ${seen[wrong]} times`);
  return content.subarray(0, disk.sizeBytes);
}
