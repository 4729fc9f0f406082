import { WINDOW_BLOCKS } from "../core/limits.ts";
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import { OwnerMap } from "../core/owner_map.ts";
import { at, RECORD_KIND } from "../core/records.ts";
import type { Repository } from "./repository.ts";

/** Which records of a backup's own index objects still hold a block of its disk. */
export interface LiveRecords {
  /** For each index object of the backup, for each of its records: 1 when it is alive. */
  alive: Uint8Array[];
  packs: Map<string, PackShare>;
}

export interface PackShare {
  sizeBytes: number;
  /** Of frames that still hold a block. */
  liveBytes: number;
}

/** Owner of blocks that no record speaks of. */
const NOBODY = 0;

/**
 * @throws IbackupError CORRUPT_DATA when an index object cannot be read, or what the store throws.
 */
export async function findLiveRecords(
  repository: Repository,
  { manifest }: StoredManifest,
): Promise<LiveRecords> {
  const live: LiveRecords = { alive: [], packs: new Map() };
  /** Owner of the first record of each index object. */
  const starts: number[] = [];
  let end = NOBODY + 1;
  for (const index of manifest.indexes) {
    const { records, packs } = await repository.indexes.read(manifest, index);
    starts.push(end);
    end += records.count;
    for (const { name, sizeBytes } of packs) live.packs.set(name, { sizeBytes, liveBytes: 0 });
  }
  const alive = await findOwners(repository, manifest, { starts, end });
  for (const [number, index] of manifest.indexes.entries()) {
    const decoded = await repository.indexes.read(manifest, index);
    const start = starts[number] ?? 0;
    const ofIndex = alive.subarray(start, start + decoded.records.count);
    live.alive.push(ofIndex);
    countLive(live, decoded, ofIndex);
  }
  return live;
}

/** @returns By owner: 1 when a block of the disk is its own. */
async function findOwners(
  repository: Repository,
  manifest: Manifest,
  { starts, end }: { starts: readonly number[]; end: number },
): Promise<Uint8Array> {
  const owners = new OwnerMap();
  const alive = new Uint8Array(end);
  const { blockCount } = manifest;
  for (let firstBlock = 0; firstBlock < blockCount; firstBlock += WINDOW_BLOCKS) {
    const windowEnd = Math.min(firstBlock + WINDOW_BLOCKS, blockCount);
    owners.begin({ firstBlock, blockCount: windowEnd - firstBlock, owner: NOBODY });
    for (const [number, index] of manifest.indexes.entries()) {
      const indexEnd = index.firstBlock + index.blockCount;
      if (index.firstBlock >= windowEnd || indexEnd <= firstBlock) continue;
      const { records } = await repository.indexes.read(manifest, index);
      fill(owners, records, starts[number] ?? 0);
    }
    for (const { owner } of owners.runs()) alive[owner] = 1;
  }
  return alive;
}

type Decoded = Awaited<ReturnType<Repository["indexes"]["read"]>>;

function fill(owners: OwnerMap, records: Decoded["records"], firstOwner: number): void {
  for (let record = 0; record < records.count; record++) {
    const end = at(records.extentStarts, record + 1);
    for (let extent = at(records.extentStarts, record); extent < end; extent++) {
      const blocks = at(records.blockCounts, extent);
      owners.fill(at(records.firstBlocks, extent), blocks, firstOwner + record);
    }
  }
}

function countLive(
  { packs }: LiveRecords,
  { records, ...table }: Decoded,
  alive: Uint8Array,
): void {
  for (let record = 0; record < records.count; record++) {
    if (alive[record] !== 1 || records.kinds[record] === RECORD_KIND.zero) continue;
    const share = packs.get(table.packs[at(records.packs, record)]?.name ?? "");
    if (share) share.liveBytes += at(records.storedBytes, record);
  }
}
