/** The status for Prometheus. The names are a contract: docs/METRICS.md lists them. */
import type { DiskDocument, StatusDocument } from "../api/schemas.ts";

interface Metric {
  name: string;
  type: "gauge" | "counter";
  help: string;
  values(status: StatusDocument): [labels: Record<string, string>, value: number | null][];
}

function ofDisks(value: (disk: DiskDocument) => number | null): Metric["values"] {
  return ({ disks }) => disks.map((disk) => [{ device: disk.device }, value(disk)]);
}

function secondsOf(instant: string | null | undefined): number | null {
  return instant ? Date.parse(instant) / 1000 : null;
}

/** What is not known is left out. */
export const METRICS: readonly Metric[] = [
  {
    name: "ibackup_daemon_info",
    type: "gauge",
    help: "1 while the daemon runs, with its version",
    values: ({ daemon, vmId }) => (daemon ? [[{ version: daemon.version, vm: vmId }, 1]] : []),
  },
  {
    name: "ibackup_daemon_start_time_seconds",
    type: "gauge",
    help: "When the daemon was started",
    values: ({ daemon }) => [[{}, secondsOf(daemon?.startedAt)]],
  },
  {
    name: "ibackup_daemon_listening",
    type: "gauge",
    help: "1 when the daemon hears at once of blocks that change",
    values: ({ daemon }) => [[{}, daemon ? Number(daemon.isListening) : null]],
  },
  {
    name: "ibackup_events_lost_total",
    type: "counter",
    help: "Perf events that found no room; no backup misses anything because of them",
    values: ({ daemon }) => [[{}, daemon?.eventsLost ?? null]],
  },
  {
    name: "ibackup_disk_tracked",
    type: "gauge",
    help: "1 when writes to the disk are tracked",
    values: ofDisks(({ isTracked }) => Number(isTracked)),
  },
  {
    name: "ibackup_disk_size_bytes",
    type: "gauge",
    help: "Size of the disk",
    values: ofDisks(({ sizeBytes }) => sizeBytes),
  },
  {
    name: "ibackup_disk_changed_blocks",
    type: "gauge",
    help: "Blocks that have changed since the newest backup",
    values: ofDisks(({ changedBlocks }) => changedBlocks),
  },
  {
    name: "ibackup_disk_changed_bytes",
    type: "gauge",
    help: "The same in bytes",
    values: ofDisks(({ changedBlocks, blockBytes }) =>
      changedBlocks === null || blockBytes === null ? null : changedBlocks * blockBytes,
    ),
  },
  {
    name: "ibackup_disk_taints",
    type: "gauge",
    help: "Reasons not to trust what was tracked; above 0 the next backup may compare the whole disk",
    values: ofDisks(({ taints }) => taints.reduce((sum, { count }) => sum + count, 0)),
  },
  {
    name: "ibackup_disk_newest_backup_timestamp_seconds",
    type: "gauge",
    help: "The instant that the newest backup represents",
    values: ofDisks(({ newest }) => secondsOf(newest?.capturedAt)),
  },
  {
    name: "ibackup_disk_next_backup_timestamp_seconds",
    type: "gauge",
    help: "When the next backup is due if nothing more changes",
    values: ofDisks(({ next }) => secondsOf(next?.at)),
  },
  {
    name: "ibackup_flushes_total",
    type: "counter",
    help: "Backups that the daemon has taken, or could not take",
    values: ({ disks }) =>
      disks.flatMap(({ device, totals }): [Record<string, string>, number][] => [
        [{ device, result: "done" }, totals.flushesDone],
        [{ device, result: "failed" }, totals.flushesFailed],
      ]),
  },
  {
    name: "ibackup_flush_read_bytes_total",
    type: "counter",
    help: "Bytes that were read of the disk",
    values: ofDisks(({ totals }) => totals.bytesRead),
  },
  {
    name: "ibackup_flush_stored_bytes_total",
    type: "counter",
    help: "Bytes that were stored",
    values: ofDisks(({ totals }) => totals.bytesStored),
  },
  {
    name: "ibackup_flush_duration_seconds",
    type: "gauge",
    help: "How long the last backup took",
    values: ofDisks(({ totals }) => inSeconds(totals.lastFlushMs)),
  },
  {
    name: "ibackup_flush_freeze_seconds",
    type: "gauge",
    help: "The longest freeze of the last backup",
    values: ofDisks(({ totals }) => inSeconds(totals.lastFreezeMs)),
  },
  {
    name: "ibackup_chore_runs_total",
    type: "counter",
    help: "How often prune and verify were run",
    values: ({ chores }) =>
      chores.flatMap(({ name, runs }): [Record<string, string>, number][] => [
        [{ chore: name, result: "done" }, runs.done],
        [{ chore: name, result: "failed" }, runs.failed],
      ]),
  },
  {
    name: "ibackup_chore_success_timestamp_seconds",
    type: "gauge",
    help: "When prune and verify succeeded last",
    values: ({ chores }) =>
      chores.map(({ name, succeededAt }) => [{ chore: name }, secondsOf(succeededAt)]),
  },
  {
    name: "ibackup_alarms",
    type: "gauge",
    help: "Alarms that are raised, by kind",
    values: ({ alarms }) =>
      [...Map.groupBy(alarms, ({ kind }) => kind)].map(([kind, some]) => [{ kind }, some.length]),
  },
];

/** In the text format that Prometheus reads, version 0.0.4. */
export function metricsText(status: StatusDocument): string {
  return METRICS.map(({ name, type, help, values }) => {
    const lines = values(status).flatMap(([labels, value]) =>
      value === null ? [] : `${name}${labelText(labels)} ${value}\n`,
    );
    return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join("")}`;
  }).join("");
}

function inSeconds(durationMs: number | null): number | null {
  return durationMs === null ? null : durationMs / 1000;
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
