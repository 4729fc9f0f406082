/** Stores again what damaged packs have lost, as far as somebody can prove what it was. */
import { nextMap } from "../core/backup_map.ts";
import { BlockSet } from "../core/block_set.ts";
import type { BlockExtent } from "../core/extent.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { assert } from "../errors.ts";
import { openBackupWriter } from "./backup_writer.ts";
import { planChain } from "./chain_plan.ts";
import { putMap } from "./maps.ts";
import type { Repository } from "./repository.ts";
import type { FindSigner } from "./signature.ts";

export interface RepairOptions {
  /** Names of packs that are missing or damaged. */
  damaged: ReadonlySet<string>;
  /**
   * Gives those of the blocks of which it is certain what the newest backup of the chain has there.
   * Ascending; the bytes are lent.
   */
  prove(lost: BlockSet): AsyncIterable<BlockExtent & { bytes: Uint8Array }>;
  /** Called before the new objects are named; throws where they may be gone again. */
  confirm?: (() => Promise<void>) | undefined;
  /** Of the maps. */
  signer?: FindSigner | undefined;
  signal?: AbortSignal | undefined;
}

export interface RepairResult {
  /** Blocks that the newest backup had in what is damaged. */
  blocksLost: number;
  blocksRepaired: number;
}

/**
 * Repairs what the last backup of a chain needs. Each backup of the chain gets back what it wrote of
 * that, by a map that names it after all else; so those between are repaired along with it.
 *
 * @param chain Base first.
 */
export async function repairChain(
  repository: Repository,
  chain: readonly StoredManifest[],
  options: RepairOptions,
): Promise<RepairResult> {
  const newest = chain.at(-1);
  assert(newest !== undefined, "a chain has a backup");
  const rest = await lostBlocks(repository, chain, options);
  const result = { blocksLost: rest.count(), blocksRepaired: 0 };
  for (const stored of chain.toReversed()) {
    if (rest.isEmpty) break;
    const lost = takeOut(rest, await lostBlocks(repository, [stored], options));
    if (lost.isEmpty) continue;
    result.blocksRepaired += await repairBackup(repository, stored, { ...options, lost });
  }
  return result;
}

/** Takes the blocks of a backup out of `rest`. @returns Those that were in it. */
function takeOut(rest: BlockSet, own: BlockSet): BlockSet {
  const common = new BlockSet(rest.blockCount);
  for (const { firstBlock, blockCount } of own.extents()) {
    for (let block = firstBlock; block < firstBlock + blockCount; block++) {
      if (block < rest.blockCount && rest.has(block)) common.add(block, 1);
    }
  }
  for (const { firstBlock, blockCount } of common.extents()) rest.remove(firstBlock, blockCount);
  return common;
}

/** The blocks that the last backup of a chain would read from what is damaged. */
async function lostBlocks(
  repository: Repository,
  chain: readonly StoredManifest[],
  { damaged, signal }: RepairOptions,
): Promise<BlockSet> {
  const lost = new BlockSet(chain.at(-1)?.manifest.blockCount ?? 0);
  const onlyOwn = chain.length === 1;
  for await (const step of planChain(repository, chain, { onlyOwn, signal })) {
    if (step.kind === "lost") lost.add(step.firstBlock, step.blockCount);
    if (step.kind !== "request" || !damaged.has(step.pack.name)) continue;
    for (const { wanted } of step.frames) {
      for (const { firstBlock, blockCount } of wanted) lost.add(firstBlock, blockCount);
    }
  }
  return lost;
}

/** @returns How many blocks it has again. */
async function repairBackup(
  repository: Repository,
  stored: StoredManifest,
  { lost, prove, confirm, signer, signal }: RepairOptions & { lost: BlockSet },
): Promise<number> {
  const { blockBytes, blockCount } = stored.manifest;
  const sealer = await repository.sealer();
  const writer = openBackupWriter(repository, { blockBytes, blockCount, sealer, signal });
  let repaired = 0;
  try {
    for await (const { bytes, ...extent } of prove(lost)) {
      await writer.add(extent, bytes);
      repaired += extent.blockCount;
    }
    const { indexes } = await writer.finish();
    const map = nextMap(stored);
    map.indexes.push(...indexes.map((index) => ({ diskBlocks: blockCount, ...index })));
    if (repaired === 0) return 0;
    await confirm?.();
    // Another one has changed it meanwhile: the next repair sees what is left.
    return (await putMap(repository.store, { stored, map, signer })) ? repaired : 0;
  } catch (error) {
    await writer.abort();
    throw error;
  } finally {
    sealer.close();
  }
}
