import type { StoredManifest } from "./manifest.ts";

/**
 * What of backups was signed by others than one would expect, for people: it may be right.
 *
 * @param backups A parent that is not among them is not looked at.
 * @param own The key of this machine; undefined where it has none.
 */
export function describeOddities(
  backups: readonly StoredManifest[],
  own: string | undefined,
): string[] {
  return [...writerChanges(backups), ...foreignMaps(backups, own)];
}

/** Backups that another machine wrote than the one that they continue. */
function writerChanges(backups: readonly StoredManifest[]): string[] {
  const byId = new Map(backups.map(({ manifest }) => [manifest.backupId, manifest]));
  return backups.flatMap(({ manifest: { backupId, parentId, writer } }) => {
    const parent = byId.get(parentId ?? "");
    if (parent === undefined || parent.writer === writer) return [];
    return `the backup ${backupId} was not signed by the machine that signed ${parent.backupId}: a new machine, a lost state folder, or somebody else`;
  });
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
