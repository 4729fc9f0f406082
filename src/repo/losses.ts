/** Which backups lose blocks by objects that are missing or damaged. */
import { BlockSet } from "../core/block_set.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { packKey } from "../core/pack.ts";
import type { PlanStep } from "../core/restore_plan.ts";
import { planChain } from "./chain_plan.ts";
import type { Repository } from "./repository.ts";

interface LossOptions {
  /** Keys of packs. Index objects that cannot be read are found. */
  damaged: ReadonlySet<string>;
  signal?: AbortSignal | undefined;
}

/**
 * Goes through each chain once, and reads index objects only.
 *
 * @param backups A parent always before its children. What continues one that is not there is left
 *   out: it cannot be restored, and everybody sees why.
 * @returns By id: how many blocks of the backup are lost.
 */
export async function countLosses(
  repository: Repository,
  backups: readonly StoredManifest[],
  { damaged, signal }: LossOptions,
): Promise<Map<string, number>> {
  const lost = new Map<string, BlockSet>();
  for (const stored of backups) {
    const { backupId, parentId, blockCount } = stored.manifest;
    const inherited = parentId === null ? new BlockSet(0) : lost.get(parentId);
    if (inherited === undefined) continue;
    const blocks = cutOff(inherited, blockCount);
    await applyOwn(repository, stored, { blocks, damaged, signal });
    lost.set(backupId, blocks);
  }
  return new Map([...lost].map(([backupId, blocks]) => [backupId, blocks.count()]));
}

/** A copy, of a disk of so many blocks. */
function cutOff(blocks: BlockSet, blockCount: number): BlockSet {
  const left = new BlockSet(blockCount);
  for (const extent of blocks.extents()) {
    const count = Math.min(extent.blockCount, blockCount - extent.firstBlock);
    if (count > 0) left.add(extent.firstBlock, count);
  }
  return left;
}

/** What a backup says itself is lost or not, whatever it was before. */
async function applyOwn(
  repository: Repository,
  stored: StoredManifest,
  { blocks, damaged, signal }: LossOptions & { blocks: BlockSet },
): Promise<void> {
  for await (const step of planChain(repository, [stored], { onlyOwn: true, signal })) {
    if (step.kind === "missing") continue;
    const isLost = isStepLost(step, damaged);
    const extents = step.kind === "request" ? step.frames.flatMap(({ wanted }) => wanted) : [step];
    for (const { firstBlock, blockCount } of extents) {
      if (isLost) blocks.add(firstBlock, blockCount);
      else blocks.remove(firstBlock, blockCount);
    }
  }
}

function isStepLost(step: PlanStep, damaged: ReadonlySet<string>): boolean {
  return step.kind === "lost" || (step.kind === "request" && damaged.has(packKey(step.pack.name)));
}
