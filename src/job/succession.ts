/** Which backup a new one continues, and the manifest of the new one. */
import { chainOf } from "../core/chain.ts";
import type { GapVerdict } from "../core/gap_check.ts";
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import type { BlockDevice } from "../disk/block_device.ts";
import { hashPartitionTable } from "../disk/partition_table.ts";
import { IbackupError } from "../errors.ts";
import type { WrittenBackup } from "../repo/backup_writer.ts";
import type { SourceDisk } from "./source_disk.ts";

/**
 * The newest backup of a disk. Where the user gave no name, the disk is known by its identity:
 * `/dev/vda` may be another one after a reboot. Only then does the kernel's name count.
 *
 * @param backups Oldest first.
 */
export function findParent(
  backups: readonly StoredManifest[],
  of: { vmId: string; diskName: string | undefined; device: BlockDevice },
): StoredManifest | undefined {
  const mine = backups.filter(({ manifest }) => manifest.vmId === of.vmId);
  const named = (name: string): StoredManifest | undefined =>
    mine.findLast(({ manifest }) => manifest.disk.name === name);
  if (of.diskName !== undefined) return named(of.diskName);
  const same = mine.findLast(({ manifest }) => isSameDisk(manifest.disk, of.device));
  return same ?? named(of.device.name);
}

/** Why nothing can continue a backup: a manifest of its chain is damaged or missing. */
export function brokenChainOf(
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
export function isSameDisk({ identity }: Manifest["disk"], device: BlockDevice): boolean {
  const { kind, value } = device.identity;
  return kind !== "name" && identity.kind === kind && identity.value === value;
}

export interface ManifestParts {
  backupId: string;
  vmId: string;
  diskName: string;
  disk: SourceDisk;
  /** Undefined for a base. */
  parent: StoredManifest | undefined;
  gapCheck: GapVerdict;
  reading: { passes: number; consistency: Manifest["consistency"]; capturedAt: Date };
  stored: WrittenBackup;
  bytesRead: number;
  taints: { reason: string; count: number }[];
  epoch: number;
  times: { startedAt: Date; finishedAt: Date };
  version: string;
}

export function buildManifest(parts: ManifestParts): Manifest {
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
      partitionTableSha256: hashPartitionTable(device.path),
    },
    type: parent === undefined ? "base" : "incremental",
    parentId: parent?.manifest.backupId ?? null,
    parentSha256: parent?.sha256 ?? null,
    sequence: parent === undefined ? 0 : parent.manifest.sequence + 1,
    capturedAt: reading.capturedAt.toISOString(),
    startedAt: times.startedAt.toISOString(),
    finishedAt: times.finishedAt.toISOString(),
    consistency: reading.consistency,
    gapCheck: parts.gapCheck,
    tracking: trackingOf(parts),
    freezeMs: null,
    passes: reading.passes,
    blockBytes: disk.blockBytes,
    blockCount: disk.blockCount,
    blocksChanged: stored.blocksChanged,
    blocksZero: stored.blocksZero,
    bytesRead: parts.bytesRead,
    bytesStored: stored.bytesStored,
    indexes: stored.indexes,
    ibackupVersion: parts.version,
  };
}

function trackingOf({ disk, epoch, taints }: ManifestParts): Manifest["tracking"] {
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
