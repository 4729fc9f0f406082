import type { Manifest, StoredManifest } from "./manifest.ts";

/**
 * What of backups was signed by others than one would expect, for people: it may be right.
 *
 * @param all Of the repository: what came before a backup is looked for among them.
 * @param own The key of this machine; undefined where it has none.
 */
export function describeOddities(
  backups: readonly StoredManifest[],
  { all, own }: { all: readonly StoredManifest[]; own: string | undefined },
): string[] {
  return [...writerChanges(backups, all), ...foreignMaps(backups, own)];
}

/**
 * Backups that another machine wrote than the one before. A base continues none, so whoever cannot
 * continue a chain would write a base.
 */
function writerChanges(
  backups: readonly StoredManifest[],
  all: readonly StoredManifest[],
): string[] {
  const byId = new Map(all.map(({ manifest }) => [manifest.backupId, manifest]));
  const before = predecessors(all);
  return backups.flatMap(({ key, manifest: { backupId, parentId, writer } }) => {
    const last = parentId === null ? before.get(key) : byId.get(parentId);
    const isExpected = last?.writer === writer || (parentId === null && last?.writer === null);
    if (last === undefined || isExpected) return [];
    return `the backup ${backupId} was not signed by the machine that signed ${last.backupId}: a new machine, a lost state folder, or somebody else`;
  });
}

/** By the key of each backup: the one of the same disk that came before it. */
function predecessors(all: readonly StoredManifest[]): Map<string, Manifest> {
  const latest = new Map<string, Manifest>();
  const found = new Map<string, Manifest>();
  const bySequence = [...all].sort((a, b) => a.manifest.sequence - b.manifest.sequence);
  for (const { key, manifest } of bySequence) {
    const disk = JSON.stringify([manifest.vmId, manifest.disk.name]);
    const last = latest.get(disk);
    if (last !== undefined) found.set(key, last);
    latest.set(disk, manifest);
  }
  return found;
}

const NAMED_MAX = 3;

/** Backups whose map was signed neither by whoever wrote the backup nor by this machine. */
function foreignMaps(backups: readonly StoredManifest[], own: string | undefined): string[] {
  const foreign = backups.filter(({ manifest, map }) => {
    return (
      map !== undefined &&
      map.writer !== manifest.writer &&
      (map.writer === null || map.writer !== own)
    );
  });
  if (foreign.length === 0) return [];
  const names = foreign.slice(0, NAMED_MAX).map(({ manifest }) => manifest.backupId);
  const more = foreign.length > NAMED_MAX ? ` and ${foreign.length - NAMED_MAX} more` : "";
  return [
    `what ${names.join(", ")}${more} consists of was changed by a machine that did not write it: by prune, rebase, gc or copy on another machine, or by somebody else`,
  ];
}
