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
 * Backups that another machine wrote than the one that they continue. A base continues none, so whoever
 * cannot continue a chain would write one: it is held against all that came before it of its disk.
 */
function writerChanges(
  backups: readonly StoredManifest[],
  all: readonly StoredManifest[],
): string[] {
  // By digest: of an id there may be two.
  const bySha256 = new Map(all.map(({ sha256, manifest }) => [sha256, manifest]));
  const others = signedByOthers(all);
  return backups.flatMap(({ sha256, manifest: { backupId, parentSha256, writer } }) => {
    const last = parentSha256 === null ? others.get(sha256) : bySha256.get(parentSha256);
    if (last === undefined || last.writer === writer) return [];
    return `the backup ${backupId} was not signed by the machine that signed ${last.backupId}: a new machine, a lost state folder, or somebody else`;
  });
}

/** By the digest of each base: the newest backup before it, of its disk, that another one has signed. */
function signedByOthers(all: readonly StoredManifest[]): Map<string, Manifest> {
  const found = new Map<string, Manifest>();
  /** By disk, the newest of each writer until now. */
  const newest = new Map<string, Map<string, Manifest>>();
  const bySequence = [...all].sort((a, b) => a.manifest.sequence - b.manifest.sequence);
  for (const { sha256, manifest } of bySequence) {
    const { vmId, disk, type, writer } = manifest;
    const name = JSON.stringify([vmId, disk.name]);
    const ofDisk = newest.get(name) ?? new Map<string, Manifest>();
    newest.set(name, ofDisk);
    const [other] = [...ofDisk.values()]
      .filter((it) => type === "base" && it.writer !== writer)
      .sort((a, b) => b.sequence - a.sequence);
    if (other !== undefined) found.set(sha256, other);
    if (writer !== null) ofDisk.set(writer, manifest);
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
