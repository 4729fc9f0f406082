import type { StatusDocument } from "../api/schemas.ts";
import { formatBytes, formatCount, formatDuration, formatInstant } from "../core/units.ts";
import { newCommand, type Result, type Run, type Session } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { table } from "./text.ts";

type Disk = StatusDocument["disks"][number];

export function statusCommand(run: Run) {
  return newCommand({
    name: "status",
    summary: "show at a glance whether this machine is backed up",
    details: [
      "The first line says whether all is well; then each disk: is it tracked, how old is its newest",
      "backup, how much has changed since, when is the next one due, and why. With an alarm the exit",
      "status is 22. Asks the daemon; without one, the kernel and the repository.",
      'With --json: {"daemon", "repo", "vmId", "disks": [{"device", "isTracked", "newest",',
      '"changedBlocks", "next": {"isDue", "at", "why"}, ...}], "chores", "alarms"}.',
    ].join("\n"),
    examples: ["ibackup status", "ibackup status --json"],
    statuses: [...REPOSITORY_STATUSES, "NOT_PERMITTED", "UNHEALTHY"],
  }).action(async () => {
    await run(async (session) => {
      const status = await askStatus(session);
      const now = session.context.clock.now();
      const isWell = status.alarms.length === 0;
      const result: Result = { json: status, text: describe(status, now) };
      return { ...result, ...(!isWell && { status: "UNHEALTHY" as const }) };
    });
  });
}

/** Of the daemon, where one runs. */
export async function askStatus({ context, settings }: Session): Promise<StatusDocument> {
  const { findDaemon } = await import("../api/client.ts");
  const daemon = await findDaemon(context.runtimeDir());
  if (daemon !== undefined) return await daemon.status();
  const { statusFromOutside } = await import("../daemon/outside_view.ts");
  return await statusFromOutside(context, settings);
}

function describe(status: StatusDocument, now: Date): string {
  const { alarms, chores, daemon, disks, repo, vmId } = status;
  const rows = disks.map((disk) => [
    disk.device,
    disk.isTracked ? "yes" : "NO",
    describeNewest(disk, now),
    describeChanges(disk),
    describeNext(disk, now),
  ]);
  const titles = ["DISK", "TRACKED", "NEWEST BACKUP", "CHANGED SINCE", "NEXT"];
  const who =
    daemon === null ? "no daemon runs" : `daemon of ${daemon.version}, process ${daemon.pid}`;
  return [
    verdict(status, now),
    "",
    ...(disks.length > 0 ? [table([titles, ...rows]), ""] : []),
    ...alarms.flatMap(({ since, failure: { what, why, fix } }) => [
      `ALARM since ${formatInstant(new Date(since))}: ${what}`,
      `  why: ${why}`,
      `  fix: ${fix}`,
      "",
    ]),
    ...chores.map((chore) => describeChore(chore, now)),
    `VM ${vmId}, repository ${repo ?? "not named"}, ${who}`,
  ].join("\n");
}

function verdict({ alarms, disks }: StatusDocument, now: Date): string {
  if (alarms.length > 0) return `NOT WELL: ${formatCount(alarms.length, "alarm")}`;
  if (disks.length === 0) return "Nothing is tracked, and the config file names no disks";
  const never = disks.filter(({ newest }) => newest === null).length;
  if (never > 0) return `Well, but ${formatCount(never, "disk")} without a backup`;
  const ages = disks.map((disk) => now.getTime() - Date.parse(disk.newest?.capturedAt ?? ""));
  const oldest = formatDuration(Math.max(0, ...ages));
  return `All is well: ${formatCount(disks.length, "disk")}, backed up ${oldest} ago or less`;
}

function describeNewest({ newest, isNewestKnown }: Disk, now: Date): string {
  if (newest === null) return isNewestKnown ? "none" : "not known";
  const ageMs = Math.max(0, now.getTime() - Date.parse(newest.capturedAt));
  return `${formatDuration(ageMs)} ago, ${newest.consistency}`;
}

function describeChanges({ changedBlocks, blockBytes, taints }: Disk): string {
  if (changedBlocks === null || blockBytes === null) return "not known";
  const taint = taints.length === 0 ? "" : `, tainted: ${taints[0]?.reason}`;
  return `${formatBytes(changedBlocks * blockBytes)}${taint}`;
}

function describeNext({ flush, next, retryAt }: Disk, now: Date): string {
  if (flush?.state === "running") return `under way${shareOf(flush)}: ${flush.why}`;
  if (flush !== null) return `waiting: ${flush.why}`;
  if (retryAt !== null) return `tried again ${inTime(retryAt, now)}`;
  if (next === null) return "when asked for";
  if (next.isDue) return `due: ${next.why}`;
  return next.at === null ? `after ${next.why}` : `${inTime(next.at, now)}: ${next.why}`;
}

function shareOf({ progress }: NonNullable<Disk["flush"]>): string {
  if (progress === null || progress.totalBytes === 0) return "";
  return `, ${Math.floor((100 * progress.doneBytes) / progress.totalBytes)} %`;
}

function describeChore(chore: StatusDocument["chores"][number], now: Date): string {
  const { name, isRunning, outcome, nextAt, lastAt } = chore;
  const last = lastAt === null ? "not done yet" : `${outcome} (${formatInstant(new Date(lastAt))})`;
  const next = nextAt === null ? "" : `; next ${inTime(nextAt, now)}`;
  return isRunning ? `${name}: under way` : `${name}: ${last}${next}`;
}

function inTime(instant: string, now: Date): string {
  return `in ${formatDuration(Math.max(0, Date.parse(instant) - now.getTime()))}`;
}
