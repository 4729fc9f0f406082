import type { RetentionPolicy } from "../core/retention.ts";
import { formatCount, formatInstant, parseDuration } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import type { PruneLine, PruneResult } from "../job/prune.ts";
import type { PruneDamagedResult } from "../job/prune_damaged.ts";
import { newCommand, type Result, type Run, type Session } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { table } from "./text.ts";

export function pruneCommand(run: Run) {
  return newCommand({
    name: "prune",
    summary: "remove backups that a policy does not keep, or those that are named",
    details: [
      "Of each disk, a backup is kept when one of the --keep options keeps it. Periods are those of the",
      "UTC calendar; of each that has a backup the newest counts. --keep-within counts from the newest",
      "backup. The newest and protected ones are always kept. Any backup can go, also one that others",
      "build on: they take over what they need. `ibackup gc` then frees the space.",
      "--damaged removes manifests, maps, heads and notes that cannot be read: while they are there, gc",
      "removes nothing. What only they name goes with the next gc; so copy them back from another store",
      "before that, where there is one.",
      'With --json: {"dryRun", "backups": [{"backupId", "vmId", "disk", "capturedAt", "kept",',
      '"reasons"}], "removed", "locked": [{"backupId", "until"}], "simulation"}; with --damaged:',
      '{"dryRun", "damaged": [{"object", "reason", "backups"}], "removed", "locked": [{"object",',
      '"until"}]}; these backups cannot be restored any more, and can be pruned by name.',
    ].join("\n"),
    examples: [
      "ibackup prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run",
      "ibackup prune --keep-last 24 --keep-daily 7 --simulate 60",
      "ibackup prune 20261122T170102Z-6f3a9c1d",
      "ibackup prune --damaged --dry-run",
    ],
    statuses: [...REPOSITORY_STATUSES, "LOCKED", "BACKUP_UNKNOWN", "CORRUPT_DATA"],
  })
    .argument("[backup...]", "ids of backups that are to go, or their beginnings")
    .option("--keep-last <count>", "keep so many of the newest")
    .option("--keep-hourly <count>", "keep the newest of each of so many hours")
    .option("--keep-daily <count>", "keep the newest of each of so many days")
    .option("--keep-weekly <count>", "keep the newest of each of so many weeks (from Monday on)")
    .option("--keep-monthly <count>", "keep the newest of each of so many months")
    .option("--keep-yearly <count>", "keep the newest of each of so many years")
    .option("--keep-within <duration>", "keep all that are at most so much older than the newest")
    .option("--keep-tag <tag...>", "keep all that have one of these tags")
    .option("--disk <name>", "only backups of the disk of that name")
    .option("--dry-run", "print what would go, and why; remove nothing")
    .option("--simulate <days>", "remove nothing; print what would be kept on each coming day")
    .option("--damaged", "remove what cannot be read instead")
    .option("--force", "with BACKUP: also the last backup of a disk")
    .action(async (backups, { damaged, ...given }) => {
      await run(async (session) => {
        if (damaged) return await pruneWhatIsDamaged(session, backups, given);
        const { disk, dryRun = false, simulate, force = false, ...keep } = given;
        const { prune } = await import("../job/prune.ts");
        const policy = policyOf(keep);
        if (backups.length > 0 && Object.keys(keep).length > 0) throw bothGiven();
        const scope = { vmId: session.settings.vmGiven, diskName: disk };
        const simulateDays = simulate === undefined ? 0 : countOf("--simulate", simulate);
        const isDry = dryRun || simulateDays > 0;
        const options = { backups, policy, scope, dryRun: isDry, simulateDays, force };
        return resultOf(await prune(session.context, options));
      });
    });
}

async function pruneWhatIsDamaged(
  { context }: Session,
  backups: readonly string[],
  { dryRun = false, ...others }: { dryRun?: boolean },
): Promise<Result> {
  if (backups.length + Object.keys(others).length > 0) throw notAlone();
  const { pruneDamaged } = await import("../job/prune_damaged.ts");
  return damagedResultOf(await pruneDamaged(context, { dryRun }));
}

interface KeepArguments {
  keepLast?: string;
  keepHourly?: string;
  keepDaily?: string;
  keepWeekly?: string;
  keepMonthly?: string;
  keepYearly?: string;
  keepWithin?: string;
  keepTag?: string[];
}

function policyOf({ keepWithin, keepTag, ...counts }: KeepArguments): RetentionPolicy {
  const count = (name: string, text: string | undefined) =>
    text === undefined ? undefined : countOf(name, text);
  return {
    last: count("--keep-last", counts.keepLast),
    hourly: count("--keep-hourly", counts.keepHourly),
    daily: count("--keep-daily", counts.keepDaily),
    weekly: count("--keep-weekly", counts.keepWeekly),
    monthly: count("--keep-monthly", counts.keepMonthly),
    yearly: count("--keep-yearly", counts.keepYearly),
    withinMs: keepWithin === undefined ? undefined : parseDuration(keepWithin),
    tags: keepTag,
  };
}

function countOf(option: string, text: string): number {
  if (/^[1-9]\d{0,4}$/.test(text)) return Number(text);
  throw new IbackupError("USAGE", `Cannot use ${option} ${text}`, {
    why: "it is not a whole number from 1 to 99999",
    fix: `write for example ${option} 7`,
  });
}

function bothGiven(): IbackupError {
  return new IbackupError("USAGE", "Cannot tell what to remove", {
    why: "both backups and --keep options were given",
    fix: "leave one of them out",
  });
}

function notAlone(): IbackupError {
  return new IbackupError("USAGE", "Cannot tell what to remove", {
    why: "--damaged is about all that cannot be read, and about nothing else",
    fix: "give it alone, or with --dry-run",
  });
}

function damagedResultOf(result: PruneDamagedResult): Result {
  const { dryRun, damaged, removed, locked } = result;
  const lines = damaged.map(({ object, reason, backups }) => {
    const lost = backups.length === 0 ? "" : `\n  cannot be restored then: ${backups.join(", ")}`;
    return `${object}: ${reason}${lost}`;
  });
  const stuck = locked.map(
    ({ object, until }) => `${object} stays until ${until ?? "the store lets it go"}`,
  );
  const count = formatCount(dryRun ? damaged.length : removed.length, "object");
  const summary = `${count} ${dryRun ? "would be removed" : "removed"}`;
  return { json: result, text: lines.join("\n"), note: [...stuck, summary].join("\n") };
}

function resultOf(result: PruneResult): Result {
  const { dryRun, backups, removed, locked, simulation } = result;
  const going = backups.filter(({ kept }) => !kept).length;
  const days = simulation.map(({ vmId, disk, days: lines }) => {
    const rows = lines.map(({ day, taken, removed: gone, kept, oldest }) => [
      day,
      String(taken),
      String(gone),
      String(kept),
      formatInstant(new Date(oldest)),
    ]);
    const titles = ["DAY", "TAKEN", "REMOVED", "KEPT", "OLDEST"];
    return `${disk} of ${vmId}:\n${table([titles, ...rows], new Set([1, 2, 3]))}`;
  });
  const stuck = locked.map(
    ({ backupId, until }) => `${backupId} stays until ${until ?? "the store lets it go"}`,
  );
  const verb = dryRun ? "would be removed" : "removed";
  const count = dryRun ? going : removed.length;
  const summary = `${formatCount(count, "backup")} ${verb}, ${formatCount(backups.length - going, "backup")} kept`;
  return {
    json: result,
    text: days.length > 0 ? days.join("\n\n") : backups.length === 0 ? "" : linesOf(backups),
    note: [...stuck, summary].join("\n"),
  };
}

function linesOf(backups: readonly PruneLine[]): string {
  const rows = backups.map(({ backupId, vmId, disk, capturedAt, kept, reasons }) => [
    kept ? "keep" : "remove",
    backupId,
    vmId,
    disk,
    formatInstant(new Date(capturedAt)),
    reasons.join(", "),
  ]);
  return table([["", "BACKUP", "VM", "DISK", "DATE AND TIME", "WHY"], ...rows]);
}
