/** Disk and store in figures, and when the next backup is due, with the reason. */
import type { JSX } from "preact";
import type { DiskDocument } from "../api/schemas.ts";
import { formatBytes, formatCount, formatDuration } from "../core/units.ts";
import type { Fact } from "./facts.tsx";
import { formatTime, formatWhen } from "./format.ts";
import type { PageState } from "./state.ts";

export function diskFacts(disk: DiskDocument, state: PageState): Fact[] {
  const { sizeBytes, blockBytes, newest, taints, totals } = disk;
  const unplaced = state.maps[disk.device]?.unplacedBlocks ?? 0;
  return [
    ["Size", sizeBytes === null ? "unknown" : formatBytes(sizeBytes)],
    ["Block", blockBytes === null ? "unknown" : formatBytes(blockBytes)],
    ["Changed", changedWords(disk)],
    ...(unplaced > 0 ? [["Of these not on the map", formatCount(unplaced, "block")] as Fact] : []),
    ["Newest backup", newest === null ? noneWords(disk) : formatTime(newest.capturedAt)],
    ["Next backup", nextWords(disk, state.nowMs)],
    ["Backups by this daemon", `${totals.flushesDone} taken, ${totals.flushesFailed} failed`],
    ["Stored by it", formatBytes(totals.bytesStored)],
    ["Last backup took", totals.lastFlushMs === null ? "–" : formatDuration(totals.lastFlushMs)],
    ["Not trusted because of", taints.map(({ reason }) => reason).join(", ") || "nothing"],
  ];
}

export function storeFacts({ status, backups }: PageState): Fact[] {
  const list = backups?.backups ?? [];
  const bytes = list.reduce((sum, { bytesStored }) => sum + bytesStored, 0);
  const newest = list.at(-1);
  return [
    ["Repository", status?.repo ?? "none"],
    ["Backups", formatCount(list.length, "backup")],
    ["Stored", formatBytes(bytes)],
    ["Newest", newest === undefined ? "none yet" : formatTime(newest.capturedAt)],
    ["Damaged", backups?.damaged.map(({ object }) => object).join(", ") || "nothing known"],
  ];
}

function changedWords({ changedBlocks, blockBytes }: DiskDocument): string {
  if (changedBlocks === null || blockBytes === null) return "unknown";
  return `${formatCount(changedBlocks, "block")}, ${formatBytes(changedBlocks * blockBytes)}`;
}

function noneWords({ isNewestKnown }: DiskDocument): string {
  return isNewestKnown ? "none yet" : "not read yet";
}

/** "in 3 min because 1 h since the last backup". */
export function nextWords({ next, retryAt }: DiskDocument, nowMs: number): string {
  if (retryAt !== null) return `tried again ${formatWhen(Date.parse(retryAt), nowMs)}`;
  if (next === null) return "when asked for: no trigger is set";
  if (next.isDue) return `now because ${next.why}`;
  if (next.at === null) return `once there is more: ${next.why}`;
  return `${formatWhen(Date.parse(next.at), nowMs)} because ${next.why}`;
}

/** When each disk is due. */
export function Schedule({ state }: { state: PageState }): JSX.Element {
  return (
    <section class="card" aria-labelledby="schedule-title">
      <header class="card-head">
        <h2 id="schedule-title">Next backups</h2>
      </header>
      <ul class="schedule">
        {(state.status?.disks ?? []).map((disk) => (
          <li key={disk.device}>
            <b>{disk.device}</b>
            <span>{nextWords(disk, state.nowMs)}</span>
            <span class="muted">
              newest{" "}
              {disk.newest
                ? formatWhen(Date.parse(disk.newest.capturedAt), state.nowMs)
                : noneWords(disk)}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}
