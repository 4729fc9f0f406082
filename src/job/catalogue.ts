/** What backups there are (figure 6 of the patent), and which one is meant. */
import {
  type BackupChoice,
  type BackupScope,
  chainOf,
  newestOf,
  selectBackup,
} from "../core/chain.ts";
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import { NO_REMARKS, type Remarks } from "../core/note.ts";
import { IbackupError } from "../errors.ts";
import type { FoundBackups } from "../repo/heads.ts";
import type { DamagedManifest } from "../repo/manifest_list.ts";
import { readNotes } from "../repo/notes.ts";
import type { JobContext } from "./context.ts";
import { readRemembered } from "./remembered.ts";

/** One line of the catalogue. Scripts rely on these fields. */
export interface CatalogueEntry {
  backupId: string;
  vmId: string;
  disk: string;
  type: Manifest["type"];
  /** RFC 3339, UTC. */
  capturedAt: string;
  parentId: string | null;
  consistency: Manifest["consistency"];
  blocksChanged: number;
  bytesStored: number;
  tags: string[];
  protected: boolean;
  /** Of the blocks of its disk, those that nobody can give back, as far as is known. */
  blocksLost: number;
}

export interface Catalogue {
  /** Oldest first; a parent always before its children. */
  backups: CatalogueEntry[];
  /** Those that cannot be read, were removed other than by prune, or are not what they were. */
  damaged: DamagedManifest[];
}

export async function listBackups(context: JobContext, scope: BackupScope): Promise<Catalogue> {
  const { manifests, damaged } = await readManifests(context);
  const { store } = await context.openRepository();
  const notes = await readNotes(store, manifests, (error) => {
    context.progress.message(`warning: ${error.message}: ${error.why}`);
  });
  const backups = manifests
    .map((stored) => entryOf(stored, notes.get(stored.key) ?? NO_REMARKS))
    .filter(({ vmId }) => scope.vmId === undefined || vmId === scope.vmId)
    .filter(({ disk }) => scope.diskName === undefined || disk === scope.diskName);
  return { backups, damaged };
}

export interface BackupDetails {
  /** Its details are opened where there is an identity. */
  manifest: Manifest;
  /** SHA-256 of the manifest object. */
  manifestSha256: string;
  /** Base first, this backup last. Null when the chain is broken; then `problem` says where. */
  chain: string[] | null;
  problem: string | null;
}

export async function showBackup(
  context: JobContext,
  request: BackupRequest,
): Promise<BackupDetails> {
  const { manifests, stored } = await findBackup(context, request);
  const manifest = await withDetails(context, stored);
  const details = { manifest, manifestSha256: stored.sha256 };
  try {
    const chain = chainOf(manifests, stored.manifest.backupId);
    return { ...details, chain: chain.map(({ manifest }) => manifest.backupId), problem: null };
  } catch (error) {
    if (!(error instanceof IbackupError)) throw error;
    return { ...details, chain: null, problem: `${error.message}: ${error.why}` };
  }
}

async function withDetails(context: JobContext, stored: StoredManifest): Promise<Manifest> {
  try {
    const details = await (await context.openRepository()).detailsOf(stored);
    return { ...stored.manifest, details };
  } catch (error) {
    if (error instanceof IbackupError && error.code === "NO_KEY") return stored.manifest;
    throw error;
  }
}

export interface BackupRequest {
  choice: BackupChoice;
  /** What the user named. */
  scope: BackupScope;
  /** This machine: its backups are meant when several machines have some. */
  vmId: string;
}

export interface FoundBackup {
  stored: StoredManifest;
  /** All that can be read, oldest first. */
  manifests: StoredManifest[];
}

/**
 * The backup that is meant.
 *
 * @throws IbackupError BACKUP_UNKNOWN; USAGE when "latest" or a time could mean backups of several
 *   disks; CORRUPT_DATA when it depends on a manifest that cannot be read.
 */
export async function findBackup(
  context: JobContext,
  { choice, scope, vmId }: BackupRequest,
): Promise<FoundBackup> {
  const { manifests, damaged } = await readManifests(context);
  if (choice !== "latest" && "id" in choice) {
    return { manifests, stored: selectById(manifests, { choice, scope }, damaged) };
  }
  // Which one is the newest nobody knows while one cannot be read.
  if (damaged[0] !== undefined) throw damaged[0].error;
  const narrowed = narrow(manifests, scope, vmId);
  return { manifests, stored: selectBackup(manifests, choice, narrowed) };
}

/** An id names its backup wherever it is from, unless the user has said where. */
function selectById(
  manifests: readonly StoredManifest[],
  { choice, scope }: { choice: { id: string }; scope: BackupScope },
  damaged: readonly DamagedManifest[],
): StoredManifest {
  // The id of a backup stands in its manifest: one that cannot be read may be the one.
  const isSure = manifests.some(({ manifest }) => manifest.backupId === choice.id);
  if (!isSure && damaged[0] !== undefined) throw damaged[0].error;
  return selectBackup(manifests, choice, scope);
}

/** Widens nothing: a scope that names a disk of this machine, or the only one there is. */
function narrow(
  manifests: readonly StoredManifest[],
  scope: BackupScope,
  ownVmId: string,
): BackupScope {
  const isOwn = newestOf(manifests, { ...scope, vmId: scope.vmId ?? ownVmId }) !== undefined;
  const vmId = scope.vmId ?? (isOwn ? ownVmId : undefined);
  const disks = new Set<string>();
  for (const { manifest } of manifests) {
    if (vmId !== undefined && manifest.vmId !== vmId) continue;
    if (scope.diskName !== undefined && manifest.disk.name !== scope.diskName) continue;
    disks.add(`--vm ${manifest.vmId} --disk ${manifest.disk.name}`);
  }
  if (disks.size <= 1) return { vmId, diskName: scope.diskName };
  throw new IbackupError("USAGE", "Cannot tell which backup is meant", {
    why: `there are backups of ${disks.size} disks: ${[...disks].slice(0, 5).join("; ")}`,
    fix: "name the disk as shown, or the backup by its id",
  });
}

async function readManifests(context: JobContext): Promise<FoundBackups> {
  return await readRemembered(context, await context.openRepository());
}

function entryOf({ manifest }: StoredManifest, remarks: Remarks): CatalogueEntry {
  const { backupId, vmId, disk, type, capturedAt, parentId } = manifest;
  const { consistency, blocksChanged, bytesStored } = manifest;
  return {
    backupId,
    vmId,
    disk: disk.name,
    type,
    capturedAt,
    parentId,
    consistency,
    blocksChanged,
    bytesStored,
    tags: [...remarks.tags],
    protected: remarks.isProtected,
    blocksLost: remarks.blocksLost,
  };
}
