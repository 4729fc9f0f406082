/** Removes backups: those that a policy does not keep, or those that the user names. */
import { type BackupScope, selectBackup } from "../core/chain.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { diskTagOf } from "../core/manifest_key.ts";
import { NO_REMARKS, type Remarks } from "../core/note.ts";
import {
  isEmptyPolicy,
  planRetention,
  type RetentionCandidate,
  type RetentionPolicy,
  type RetentionVerdict,
  type SimulatedDay,
  simulateRetention,
} from "../core/retention.ts";
import { IbackupError } from "../errors.ts";
import { readNotes } from "../repo/notes.ts";
import { type Removal, removeBackups } from "../repo/removal.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { JobContext } from "./context.ts";
import { whileAlone } from "./maintenance.ts";
import { forgetSeen } from "./newest_seen.ts";
import { leasedDisk, withLeases } from "./prune_newest.ts";

export interface PruneOptions {
  /** Ids or their unique beginnings; then the policy is empty. */
  backups: readonly string[];
  policy: RetentionPolicy;
  /** Other backups are not looked at. */
  scope: BackupScope;
  /** Say what would be done, and do nothing. */
  dryRun: boolean;
  /** With a dry run: what the policy would leave on each of so many coming days. */
  simulateDays: number;
  /** Also the last backup of a disk. */
  force: boolean;
}

export interface PruneLine extends RetentionVerdict {
  vmId: string;
  disk: string;
  capturedAt: string;
}

export interface PruneResult {
  dryRun: boolean;
  /** Oldest first within a disk. */
  backups: PruneLine[];
  /** Ids of those that are gone now. */
  removed: string[];
  /** Those that the store does not let go yet; RFC 3339, or null where it does not say. */
  locked: { backupId: string; until: string | null }[];
  simulation: { vmId: string; disk: string; days: SimulatedDay[] }[];
}

/** The backups of one disk, oldest first. */
interface DiskBackups {
  vmId: string;
  disk: string;
  newest: StoredManifest;
  candidates: RetentionCandidate[];
}

/**
 * @throws IbackupError USAGE when there is neither a policy nor a name, or too much would go; LOCKED
 *   while another one removes or rearranges; BACKUP_UNKNOWN; CORRUPT_DATA.
 */
export async function prune(context: JobContext, options: PruneOptions): Promise<PruneResult> {
  const { backups, policy, dryRun } = options;
  if (backups.length === 0 && isEmptyPolicy(policy)) throw nothingAsked();
  const repository = await context.openRepository();
  if (dryRun) {
    const { newest: _, ...planned } = await plan(context, repository, options);
    return { ...planned, removed: [], locked: [] };
  }
  return await whileAlone(
    context,
    { store: repository.store, what: "prune" },
    async ({ signer }) => {
      const { newest, ...planned } = await plan(context, repository, options);
      const wanted = new Set(planned.backups.flatMap((it) => (it.kept ? [] : it.backupId)));
      const { signal } = context;
      const remove = () => removeBackups(repository, wanted, { signer, signal });
      const { store } = repository;
      const disks = newest.map(leasedDisk);
      const removal = await withLeases(context, { store, disks }, remove);
      const gone = new Set(removal.removed.map((stored) => stored.sha256));
      forgetSeen(context, repository.id, ({ sha256 }) => gone.has(sha256));
      return { ...planned, ...removalOf(removal) };
    },
  );
}

function removalOf({ removed, locked }: Removal): Pick<PruneResult, "removed" | "locked"> {
  return {
    removed: removed.map(({ manifest }) => manifest.backupId),
    locked: locked.map(({ stored, until }) => ({
      backupId: stored.manifest.backupId,
      until: until?.toISOString() ?? null,
    })),
  };
}

type Plan = Pick<PruneResult, "dryRun" | "backups" | "simulation"> & {
  /** Those that are to go, or are going, and are the newest of their disk. */
  newest: StoredManifest[];
};

async function plan(
  context: JobContext,
  repository: Repository,
  options: PruneOptions,
): Promise<Plan> {
  const all = await repository.manifests(({ error }) => {
    context.progress.message(`warning: ${error.message}: ${error.why}`);
  });
  const notes = await readNotes(repository.store, all, ({ message, why }) => {
    context.progress.message(`warning: ${message}: ${why}; its backup counts as protected`);
  });
  const disks = byDisk(all, notes).filter((disk) => isInScope(disk, options.scope));
  const named = options.backups.map((id) => selectBackup(all, { id }, options.scope));
  const ids = new Set(named.map(({ manifest }) => manifest.backupId));
  const lines = disks.flatMap((disk) => {
    const { vmId, disk: name, candidates } = disk;
    const verdicts =
      ids.size > 0
        ? verdictsOnNames(disk, ids, options)
        : planRetention(candidates, options.policy);
    return verdicts.map((verdict, index): PruneLine => {
      const capturedAt = candidates[index]?.capturedAt ?? "";
      return { ...verdict, vmId, disk: name, capturedAt };
    });
  });
  const { dryRun, policy, simulateDays } = options;
  const simulation = disks.flatMap(({ vmId, disk, candidates }) => {
    if (simulateDays === 0 || candidates.length === 0) return [];
    return { vmId, disk, days: simulateRetention(candidates, policy, simulateDays) };
  });
  const newest = disks
    .map((disk) => disk.newest)
    .filter(({ manifest, map }) => ids.has(manifest.backupId) || map?.removing === true);
  return { dryRun, backups: lines, simulation, newest };
}

function isInScope({ vmId, disk }: DiskBackups, scope: BackupScope): boolean {
  const isVm = scope.vmId === undefined || scope.vmId === vmId;
  return isVm && (scope.diskName === undefined || scope.diskName === disk);
}

function byDisk(
  all: readonly StoredManifest[],
  notes: ReadonlyMap<string, Remarks>,
): DiskBackups[] {
  const groups = Map.groupBy(all, ({ manifest: { vmId, disk } }) =>
    diskTagOf({ vmId, diskName: disk.name }, sha256Hex),
  );
  return [...groups.values()].flatMap((ofDisk) => {
    const newest = ofDisk.at(-1);
    // One that is being removed is neither kept nor does it stand in for another.
    const present = ofDisk.filter(({ map }) => map?.removing !== true);
    if (newest === undefined) return [];
    const { vmId, disk } = newest.manifest;
    const candidates = present.map(({ key, manifest: { backupId, capturedAt } }) => {
      const remarks = notes.get(key) ?? NO_REMARKS;
      return { backupId, capturedAt, ...remarks };
    });
    return { vmId, disk: disk.name, newest, candidates };
  });
}

function verdictsOnNames(
  { vmId, disk, candidates }: DiskBackups,
  ids: ReadonlySet<string>,
  { force }: PruneOptions,
): RetentionVerdict[] {
  const going = candidates.filter(({ backupId }) => ids.has(backupId));
  const guarded = going.find(({ isProtected }) => isProtected);
  if (guarded) throw protectedBackup(guarded.backupId);
  if (!force && going.length > 0 && going.length === candidates.length) {
    throw nothingLeft(disk, vmId);
  }
  return candidates.map(({ backupId }) =>
    ids.has(backupId)
      ? { backupId, kept: false, reasons: ["named"] }
      : { backupId, kept: true, reasons: ["not named"] },
  );
}

function nothingAsked(): IbackupError {
  return new IbackupError("USAGE", "Cannot tell what to remove", {
    why: "no backup was named, and no --keep option says what to keep",
    fix: "say for example --keep-daily 7 --keep-weekly 4 --dry-run",
  });
}

function protectedBackup(backupId: string): IbackupError {
  return new IbackupError("USAGE", `Cannot remove the backup ${backupId}`, {
    why: "it is protected",
    fix: `run \`ibackup unprotect ${backupId}\` first`,
  });
}

function nothingLeft(disk: string, vmId: string): IbackupError {
  return new IbackupError("USAGE", `Cannot remove all backups of disk "${disk}" of "${vmId}"`, {
    why: "none would be left",
    fix: "leave one of them, or add --force when the disk is no longer needed",
  });
}
