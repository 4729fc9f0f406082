/** What a restore is asked for, step by step. Pure. */
import type { RestorePlanRequest, TargetsDocument } from "../api/restore_schemas.ts";
import type { BackupsDocument } from "../api/schemas.ts";
import { instantOf, secondAfter } from "./format.ts";

/** What is to be restored. */
export interface Wanted {
  /** As `placeOf` gives it. */
  place: string;
  by: "backup" | "instant";
  backupId: string;
  /** As `formatTime` writes it. */
  instant: string;
}

/** Where to. */
export interface Destination {
  /** A disk; "": a new file. */
  device: string;
  file: string;
  changedOnly: boolean;
}

type Backup = BackupsDocument["backups"][number];

/** Disks are told apart by machine and name. */
export function placeOf({ vmId, disk }: Backup): string {
  return `${disk} of ${vmId}`;
}

export function placesIn(backups: readonly Backup[]): string[] {
  return [...new Set(backups.map(placeOf))].sort();
}

/** @param backupId The one to begin with; undefined: the newest. */
export function firstWanted(backups: readonly Backup[], backupId?: string): Wanted {
  const chosen = backups.find((one) => one.backupId === backupId) ?? backups.at(-1);
  return {
    place: chosen === undefined ? "" : placeOf(chosen),
    ...{ by: "backup", backupId: chosen?.backupId ?? "" },
    instant: chosen === undefined ? "" : secondAfter(chosen.capturedAt),
  };
}

/** Another disk has other backups: its newest is chosen. */
export function withPlace(wanted: Wanted, place: string, backups: readonly Backup[]): Wanted {
  const newest = backups.findLast((one) => placeOf(one) === place);
  return { ...wanted, place, backupId: newest?.backupId ?? "" };
}

/** @returns Undefined while something is missing. */
export function planRequestOf(
  wanted: Wanted,
  { device, file, changedOnly }: Destination,
  backups: readonly Backup[],
): RestorePlanRequest | undefined {
  const target = device === "" ? file.trim() : device;
  const source = sourceOf(wanted, backups);
  if (!target.startsWith("/") || source === undefined) return undefined;
  return { ...source, target, ...(changedOnly && { changedOnly }) };
}

function sourceOf(
  { by, backupId, instant, place }: Wanted,
  backups: readonly Backup[],
): Pick<RestorePlanRequest, "backupId" | "at" | "disk" | "vm"> | undefined {
  if (by === "backup") return backupId === "" ? undefined : { backupId };
  const one = backups.find((backup) => placeOf(backup) === place);
  const at = instantOf(instant);
  return one && at !== undefined ? { at, disk: one.disk, vm: one.vmId } : undefined;
}

/** Disks that can be written to come first. */
export function sortedTargets({ targets }: TargetsDocument): TargetsDocument["targets"] {
  const rank = ({ whyNot }: { whyNot: string | null }): number => (whyNot === null ? 0 : 1);
  return targets.toSorted((a, b) => rank(a) - rank(b));
}
