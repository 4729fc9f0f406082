import type { StoredManifest } from "./manifest.ts";

/** A backup that another machine wrote than the one that it continues. */
export interface WriterChange {
  backupId: string;
  parentId: string;
}

/** @param backups A parent that is not among them is not looked at. */
export function writerChanges(backups: readonly StoredManifest[]): WriterChange[] {
  const byId = new Map(backups.map(({ manifest }) => [manifest.backupId, manifest]));
  return backups.flatMap(({ manifest: { backupId, parentId, writer } }) => {
    const parent = byId.get(parentId ?? "");
    if (parent === undefined || parent.writer === writer) return [];
    return [{ backupId, parentId: parent.backupId }];
  });
}

/** For people. */
export function describeWriterChange({ backupId, parentId }: WriterChange): string {
  return `the backup ${backupId} was not signed by the machine that signed ${parentId}: a new machine, a lost state folder, or somebody else`;
}
