/** Which backup a new one continues, its place among them, and the manifest of the new one. */
import { chainOf } from "../core/chain.ts";
import type { GapVerdict } from "../core/gap_check.ts";
import type { Manifest, ManifestDetails, ManifestDraft, StoredManifest } from "../core/manifest.ts";
import { diskTagOf, nextSequence } from "../core/manifest_key.ts";
import type { BlockDevice } from "../disk/block_device.ts";
import { hashPartitionTable } from "../disk/partition_table.ts";
import { IbackupError } from "../errors.ts";
import type { WrittenBackup } from "../repo/backup_writer.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import { newestVersions } from "../repo/sidecars.ts";
import type { JobContext } from "./context.ts";
import { readRemembered } from "./remembered.ts";
import type { SourceDisk } from "./source_disk.ts";

/** Whose next backup it is. */
export interface Successor {
  vmId: string;
  /** The name that the user gave. */
  diskName: string | undefined;
  device: BlockDevice;
}

export interface Succession {
  /** All backups of the repository, oldest first. */
  backups: StoredManifest[];
  diskName: string;
  /** What the new backup can continue. */
  parent: StoredManifest | undefined;
  /** Why the newest backup cannot be the parent: its chain cannot be restored. */
  brokenChain: string | undefined;
  /** Of the new backup. If another one takes it first, the new one is not committed. */
  sequence: number;
  /** Keys of manifests that cannot be read. */
  damagedKeys: readonly string[];
}

/**
 * Reads what there is, and says what comes next.
 *
 * @param before What was found a moment ago; of that, nothing is read or told again.
 * @throws IbackupError REPOSITORY_FORMAT when a newer ibackup works here: what this one would add
 *   might not fit. USAGE when the disk has backups under several names.
 */
export async function findSuccession(
  context: JobContext,
  successor: Successor,
  { repository, before }: { repository: Repository; before?: Succession },
): Promise<Succession> {
  const found = await readRemembered(context, repository, before?.backups);
  const { manifests: backups, damaged } = found;
  for (const { key, error } of damaged) {
    if (error.code === "REPOSITORY_FORMAT") throw error;
    const isNews = before?.damagedKeys.includes(key) !== true;
    if (isNews) context.progress.message(`${error.message}: ${error.why}`);
  }
  const damagedKeys = damaged.map(({ key }) => key);
  const { vmId } = successor;
  const diskName = nameOf(backups, successor);
  const newest = backups.findLast(
    ({ manifest }) => manifest.vmId === vmId && manifest.disk.name === diskName,
  );
  const brokenChain = newest && brokenChainOf(backups, newest);
  const diskTag = diskTagOf({ vmId, diskName }, sha256Hex);
  const keys = [
    ...backups.map(({ key }) => key),
    ...damagedKeys,
    // Of backups that were removed: their places are not taken again.
    ...(await newestVersions(repository.store, `maps/${diskTag}/`)).keys(),
  ];
  return {
    backups,
    diskName,
    parent: brokenChain === undefined ? newest : undefined,
    brokenChain,
    sequence: nextSequence(keys, diskTag),
    damagedKeys,
  };
}

/**
 * What a disk is called in the repository. Where the user gave no name, the disk is known by its
 * identity: `/dev/vda` may be another one after a reboot. Only then does the kernel's name count.
 */
function nameOf(backups: readonly StoredManifest[], { vmId, diskName, device }: Successor): string {
  if (diskName !== undefined) return diskName;
  const names = new Set<string>();
  for (const { manifest } of backups) {
    const isSame = manifest.vmId === vmId && isSameDisk(manifest.disk, device);
    if (isSame) names.add(manifest.disk.name);
  }
  const [only] = names;
  // Of several, none is the newest for certain: the disks' own orders are all there is.
  if (only === undefined || names.has(device.name)) return device.name;
  if (names.size === 1) return only;
  throw new IbackupError("USAGE", `Cannot tell which backups "${device.path}" continues`, {
    why: `there are backups of it under the names ${[...names].join(", ")}`,
    fix: "choose one with --disk",
  });
}

/** Why nothing can continue a backup: a manifest of its chain is damaged or missing. */
function brokenChainOf(
  backups: readonly StoredManifest[],
  { manifest }: StoredManifest,
): string | undefined {
  try {
    chainOf(backups, manifest.backupId);
    return undefined;
  } catch (error) {
    if (!(error instanceof IbackupError) || error.code !== "CORRUPT_DATA") throw error;
    return `the chain of the newest backup is broken: ${error.why}`;
  }
}

/** True when something that stays with a disk says that it is the one of the manifest. */
function isSameDisk({ identity }: Manifest["disk"], device: BlockDevice): boolean {
  const { kind, value } = device.identity;
  return kind !== "name" && identity.kind === kind && identity.value === value;
}

export interface ManifestParts {
  backupId: string;
  vmId: string;
  diskName: string;
  sequence: number;
  disk: SourceDisk;
  /** Undefined for a base. */
  parent: StoredManifest | undefined;
  gapCheck: GapVerdict;
  /** Why the backup is taken. */
  trigger: string;
  reading: Pick<Manifest, "passes" | "consistency" | "freezeMs"> &
    Pick<ManifestDetails, "fileSystems"> & { capturedAt: Date };
  stored: WrittenBackup;
  bytesRead: number;
  taints: { reason: string; count: number }[];
  epoch: number;
  times: { startedAt: Date; finishedAt: Date };
  version: string;
}

export function buildManifest(parts: ManifestParts): ManifestDraft {
  const { disk, parent, reading, stored, times } = parts;
  const { device } = disk;
  return {
    backupId: parts.backupId,
    vmId: parts.vmId,
    disk: {
      name: parts.diskName,
      sizeBytes: device.sizeBytes,
      logicalBlockBytes: device.logicalBlockBytes,
      identity: device.identity,
    },
    type: parent === undefined ? "base" : "incremental",
    parentId: parent?.manifest.backupId ?? null,
    parentSha256: parent?.sha256 ?? null,
    parentSequence: parent?.manifest.sequence ?? null,
    sequence: parts.sequence,
    capturedAt: reading.capturedAt.toISOString(),
    startedAt: times.startedAt.toISOString(),
    finishedAt: times.finishedAt.toISOString(),
    consistency: reading.consistency,
    gapCheck: parts.gapCheck.verdict,
    trigger: parts.trigger,
    freezeMs: reading.freezeMs,
    passes: reading.passes,
    blockBytes: disk.blockBytes,
    blockCount: disk.blockCount,
    blocksChanged: stored.blocksChanged,
    blocksZero: stored.blocksZero,
    bytesRead: parts.bytesRead,
    bytesStored: stored.bytesStored,
    indexes: stored.indexes,
    ibackupVersion: parts.version,
    details: {
      partitionTableSha256: hashPartitionTable(device.path),
      gapReason: parts.gapCheck.reason,
      tracking: trackingOf(parts),
      fileSystems: reading.fileSystems,
    },
  };
}

function trackingOf({ disk, epoch, taints }: ManifestParts): ManifestDetails["tracking"] {
  const { session, slot, trackingFacts } = disk;
  if (session === undefined || slot === undefined || trackingFacts === undefined) return null;
  return {
    bootId: trackingFacts.bootId,
    session: trackingFacts.session,
    epoch,
    hooks: slot.hooks,
    lostEvents: slot.counters.eventsLost,
    taints,
  };
}
