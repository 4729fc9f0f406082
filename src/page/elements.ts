/** The elements of the picture: what each is called, and what it says in one line. Pure. */
import { formatBytes, formatCount } from "../core/units.ts";
import { formatPercent, formatWhen } from "./format.ts";
import { type PageState, writeRate } from "./state.ts";

export type ElementId =
  | "application"
  | "fileSystem"
  | "hook"
  | "helper"
  | "daemon"
  | "store"
  /** The map of a disk. */
  | `disk:${string}`;

export const TITLES = {
  application: "Application",
  fileSystem: "File system",
  hook: "Kernel hook",
  helper: "Helper",
  daemon: "Daemon",
  store: "Store",
} as const;

export type Station = keyof typeof TITLES;

/** A line below the name; for figures, the most telling one. */
export function lineOf(station: Station, state: PageState): string {
  if (state.status === undefined) return "…";
  return LINES[station](state);
}

export function isWriting(state: PageState): boolean {
  return writeRate(state) > 0;
}

export function isFlushing({ flushes }: PageState): boolean {
  return flushes.some(({ state }) => state === "running");
}

export function isRestoring({ restores }: PageState): boolean {
  return restores.some(({ state }) => state === "running");
}

const LINES: Record<Station, (state: PageState) => string> = {
  application: (state) => {
    const rate = Math.round(writeRate(state));
    return isWriting(state) ? `${rate.toLocaleString("en-US")} new blocks/s` : "writes nothing new";
  },
  fileSystem: ({ status }) => formatCount(status?.disks.length ?? 0, "disk"),
  hook: ({ status }) => {
    const disks = status?.disks ?? [];
    const tracked = disks.filter(({ isTracked }) => isTracked).length;
    return `marks on ${tracked} of ${disks.length}`;
  },
  helper: ({ status, flushes, restores }) => {
    if (restores.some(({ state }) => state === "running")) return "guards a restore";
    const running = flushes.find(({ state }) => state === "running")?.progress;
    if (running) return running.totalBytes > 0 ? `reads, ${shareOf(running)}` : "reads";
    return status?.daemon?.isListening === true ? "listens" : "does not listen";
  },
  daemon: (state) => {
    const { flushes, restores, nowMs } = state;
    if (restores.some((restore) => restore.state === "running")) return "restores";
    if (flushes.length > 0) return "backs up";
    const nextMs = nextBackupMs(state);
    return nextMs === undefined ? "waits" : `next ${formatWhen(nextMs, nowMs)}`;
  },
  store: ({ backups, backupsFailure }) => {
    if (backups === undefined) return backupsFailure === undefined ? "…" : "not reached";
    const bytes = backups.backups.reduce((sum, { bytesStored }) => sum + bytesStored, 0);
    return `${formatCount(backups.backups.length, "backup")}, ${formatBytes(bytes)}`;
  },
};

function shareOf({ doneBytes, totalBytes }: { doneBytes: number; totalBytes: number }): string {
  return formatPercent(doneBytes / totalBytes);
}

/** When the first of all disks is due by the clock. */
function nextBackupMs({ status }: PageState): number | undefined {
  const instants = (status?.disks ?? []).flatMap(({ next }) =>
    next?.at ? [Date.parse(next.at)] : [],
  );
  return instants.length === 0 ? undefined : Math.min(...instants);
}
