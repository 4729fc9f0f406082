/** Repairs what the repository has lost, from disks that still have it. */
import { BlockSet } from "../core/block_set.ts";
import { chainOf } from "../core/chain.ts";
import type { BlockExtent } from "../core/extent.ts";
import type { Manifest } from "../core/manifest.ts";
import type { DigestCache } from "../digests/digest_cache.ts";
import { describeDevice } from "../disk/block_device.ts";
import { type DiskReader, openDiskReader } from "../disk/disk_reader.ts";
import { type RepairOptions, type RepairResult, repairChain } from "../repo/repair.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import { describe, openDigestsOf } from "./flush_digests.ts";
import { whileAlone } from "./maintenance.ts";
import { findSuccession } from "./succession.ts";
import type { Problem } from "./verify.ts";

export interface RepairRequest {
  vmId: string;
  /** Those that were backed up. */
  devices: readonly string[];
  problems: readonly Problem[];
}

export interface DeviceRepair extends RepairResult {
  device: string;
}

/**
 * A block of a disk is proven by its digest in the local cache: it is what the newest backup has.
 *
 * @throws IbackupError LOCKED while another one removes or rearranges; DEVICE.
 */
export async function repair(
  context: JobContext,
  { vmId, devices, problems }: RepairRequest,
): Promise<DeviceRepair[]> {
  const damaged = new Set(problems.flatMap(({ object }) => PACK.exec(object)?.[1] ?? []));
  const repository = await context.openRepository();
  return await whileAlone(
    context,
    { store: repository.store, what: "repair" },
    async ({ confirm, signer }) => {
      const repairs: DeviceRepair[] = [];
      for (const device of devices) {
        const result = await repairDevice(context, repository, {
          device,
          vmId,
          damaged,
          confirm,
          signer,
        });
        repairs.push({ device, ...result });
      }
      return repairs;
    },
  );
}

const PACK = /^packs\/[0-9a-f]{2}\/([0-9a-f]{64})$/;

async function repairDevice(
  context: JobContext,
  repository: Repository,
  given: Pick<RepairOptions, "damaged" | "confirm" | "signer"> & { device: string; vmId: string },
): Promise<RepairResult> {
  const { vmId, damaged, confirm, signer } = given;
  const device = describeDevice(given.device);
  const successor = { vmId, diskName: undefined, device };
  const { parent, backups, diskName } = await findSuccession(context, successor, { repository });
  if (parent === undefined) return { blocksLost: 0, blocksRepaired: 0 };
  const { manifest } = parent;
  const cache = await openDigestsOf(context, { repository, vmId, diskName }, (why) =>
    context.progress.message(`the digests cannot be used: ${why}`),
  );
  const reader = await openDiskReader(device, manifest.blockBytes);
  try {
    const { signal } = context;
    const prove = (lost: BlockSet) => provenBlocks({ cache, reader, manifest, signal }, lost);
    const chain = chainOf(backups, manifest.backupId);
    return await repairChain(repository, chain, { damaged, prove, confirm, signer, signal });
  } finally {
    await reader.close();
  }
}

interface Proof {
  cache: DigestCache;
  reader: DiskReader;
  manifest: Manifest;
  signal: AbortSignal;
}

async function* provenBlocks(
  { cache, reader, manifest, signal }: Proof,
  lost: BlockSet,
): AsyncGenerator<BlockExtent & { bytes: Uint8Array }> {
  const known = cache.known(describe(manifest));
  if (known === undefined) return;
  const { blockBytes, blockCount } = manifest;
  const different = new BlockSet(blockCount);
  try {
    const pages = known.extents(blockCount, new BlockSet(blockCount));
    const wanted = withAny(pages, lost);
    for await (const { bytes, ...extent } of reader.read(wanted, signal)) {
      known.differences(extent, bytes, different);
      for (let i = 0; i < extent.blockCount; i++) {
        const firstBlock = extent.firstBlock + i;
        if (!lost.has(firstBlock) || different.has(firstBlock)) continue;
        const block = bytes.subarray(i * blockBytes, (i + 1) * blockBytes);
        yield { firstBlock, blockCount: 1, bytes: block };
      }
    }
  } finally {
    known.close();
  }
}

/** Those that hold one of the blocks. */
function* withAny(extents: Iterable<BlockExtent>, blocks: BlockSet): Generator<BlockExtent> {
  for (const extent of extents) {
    const [next] = blocks.extents(extent.firstBlock);
    if (next && next.firstBlock < extent.firstBlock + extent.blockCount) yield extent;
  }
}
