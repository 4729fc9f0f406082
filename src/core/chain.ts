import { assert, IbackupError } from "../errors.ts";
import { isBackupId } from "./backup_id.ts";
import { corruptObject } from "./corrupt.ts";
import type { StoredManifest } from "./manifest.ts";
import { manifestKey, parseManifestKey } from "./manifest_key.ts";

/** Which backup is meant: the newest, one by its id or the unique beginning of it, or by time. */
export type BackupChoice = "latest" | { id: string } | { at: Date };

/** Narrows a choice to one VM, one disk, or both. */
export interface BackupScope {
  vmId?: string | undefined;
  diskName?: string | undefined;
}

/** The key under which the parent of a backup should lie; undefined for a base. */
export function parentKeyOf({ manifest, key }: StoredManifest): string | undefined {
  const place = parseManifestKey(key);
  assert(place !== undefined, "a stored manifest has a key");
  if (manifest.parentSequence === null) return undefined;
  return manifestKey({ ...place, sequence: manifest.parentSequence });
}

/**
 * Orders manifests oldest first. Within a disk that is the order of sequence, whatever the clocks
 * said, so a parent always stands before its children. Between disks the instants decide, as far
 * as that leaves each disk's order alone.
 */
export function inChainOrder(all: readonly StoredManifest[]): StoredManifest[] {
  const disks = Map.groupBy(all, ({ key }) => parseManifestKey(key)?.diskTag);
  const placed = [...disks.values()].flatMap((ofDisk) => {
    let latest = "";
    return ofDisk.toSorted(byKey).map((stored) => {
      // A clock that went back does not move a backup before an older one.
      if (stored.manifest.capturedAt > latest) latest = stored.manifest.capturedAt;
      return { latest, stored };
    });
  });
  return placed
    .sort((left, right) => compare(left.latest, right.latest) || byKey(left.stored, right.stored))
    .map(({ stored }) => stored);
}

/** Within a disk: by sequence. */
function byKey(left: StoredManifest, right: StoredManifest): number {
  return compare(left.key, right.key);
}

function compare(left: string, right: string): number {
  return left < right ? -1 : Number(left > right);
}

/**
 * The chain that ends in a backup: its base first, itself last.
 *
 * @throws IbackupError BACKUP_UNKNOWN when there is no such backup; CORRUPT_DATA when a parent is
 *   missing, is not the one whose hash the child recorded, or does not fit its child.
 */
export function chainOf(all: readonly StoredManifest[], backupId: string): StoredManifest[] {
  const byId = new Map(all.map((stored) => [stored.manifest.backupId, stored]));
  let child = byId.get(backupId);
  if (child === undefined) throw unknownBackup(`"${backupId}"`, "there is no backup of that id");
  const chain = [child];
  while (child.manifest.parentId !== null) {
    const parent = byId.get(child.manifest.parentId);
    if (parent === undefined) {
      throw brokenLink(child, `its parent ${child.manifest.parentId} is missing`);
    }
    const misfit = misfitOf(child, parent);
    if (misfit !== undefined) throw brokenLink(child, misfit);
    chain.push(parent);
    child = parent;
  }
  return chain.reverse();
}

/** Why `parent` cannot be what `child` continues; undefined when it is. */
export function misfitOf(child: StoredManifest, parent: StoredManifest): string | undefined {
  const [younger, older] = [child.manifest, parent.manifest];
  if (younger.parentSha256 !== parent.sha256) {
    return `its parent ${older.backupId} is not the one that it continues: SHA-256 ${parent.sha256}, not ${younger.parentSha256}`;
  }
  const { sequence, parentSequence } = younger;
  // A sequence that only falls also means that following parents always ends.
  if (parentSequence !== older.sequence || parentSequence >= sequence) {
    return `it has sequence ${sequence} and continues ${parentSequence}, and its parent ${older.backupId} has ${older.sequence}`;
  }
  if (younger.vmId !== older.vmId || younger.disk.name !== older.disk.name) {
    return `its parent ${older.backupId} is of disk "${older.disk.name}" of "${older.vmId}"`;
  }
  if (younger.blockBytes !== older.blockBytes) {
    return `its blocks have ${younger.blockBytes} bytes, those of its parent ${older.blockBytes}`;
  }
  return undefined;
}

/** The newest backup in scope, or undefined. `all` is in the order of `inChainOrder`. */
export function newestOf(
  all: readonly StoredManifest[],
  scope: BackupScope = {},
): StoredManifest | undefined {
  return inScope(all, scope).at(-1);
}

/**
 * The one backup that is meant. `all` is in the order of `inChainOrder`.
 *
 * `{ at }` means the newest, by sequence, among those whose instant is not later than that: where
 * a clock was put back between two backups, the one that was taken last.
 * @throws IbackupError BACKUP_UNKNOWN when none matches, or an id's beginning matches several.
 */
export function selectBackup(
  all: readonly StoredManifest[],
  choice: BackupChoice,
  scope: BackupScope = {},
): StoredManifest {
  const candidates = inScope(all, scope);
  if (choice === "latest") {
    return newestOf(candidates) ?? unknown("latest", "there is no backup yet");
  }
  if ("id" in choice) return selectById(candidates, choice.id);
  const at = choice.at.toISOString();
  const earlier = candidates.filter(({ manifest }) => manifest.capturedAt <= at);
  return newestOf(earlier) ?? unknown(`at ${at}`, "every backup is of a later time");
}

function selectById(candidates: readonly StoredManifest[], id: string): StoredManifest {
  // Every id begins with nothing, so of a single backup it would be "the unique beginning".
  if (id === "") return unknown('""', "the id is empty");
  const matches = candidates.filter(({ manifest }) => manifest.backupId.startsWith(id));
  const [match] = matches;
  if (match !== undefined && matches.length === 1) return match;
  if (matches.length === 0) {
    const whole = isBackupId(id) ? "of that id" : "whose id begins so";
    return unknown(`"${id}"`, `there is no backup ${whole}`);
  }
  // Two have the same id when somebody has made one so.
  if (matches.every(({ manifest }) => manifest.backupId === id)) {
    const each = matches.map(({ manifest: { vmId, disk } }) => `--vm ${vmId} --disk ${disk.name}`);
    return unknown(`"${id}"`, `${matches.length} have that id; say which: ${each.join(", or ")}`);
  }
  const ids = matches.slice(0, 3).map(({ manifest }) => manifest.backupId);
  return unknown(`"${id}"`, `${matches.length} backups begin so: ${ids.join(", ")}...`);
}

function inScope(all: readonly StoredManifest[], scope: BackupScope): StoredManifest[] {
  return all.filter(
    ({ manifest }) =>
      (scope.vmId === undefined || manifest.vmId === scope.vmId) &&
      (scope.diskName === undefined || manifest.disk.name === scope.diskName),
  );
}

function brokenLink(child: StoredManifest, why: string): IbackupError {
  return corruptObject(child.key, why);
}

function unknown(which: string, why: string): never {
  throw unknownBackup(which, why);
}

function unknownBackup(which: string, why: string): IbackupError {
  return new IbackupError("BACKUP_UNKNOWN", `Cannot find the backup ${which}`, {
    why,
    fix: "run `ibackup list` to see the backups",
  });
}
