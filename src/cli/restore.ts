import { formatBytes, formatCount, formatDuration } from "../core/units.ts";
import { type ErrorCode, IbackupError } from "../errors.ts";
import type { RestoreResult } from "../job/restore.ts";
import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Result, type Run, type Session } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { blockRanges } from "./text.ts";

export function restoreCommand(run: Run) {
  return newCommand({
    name: "restore",
    summary: "write a backup to a disk, an image file, or standard output",
    details: [
      "Without BACKUP and --at the latest backup is meant. A device that is mounted, in use, or too",
      "small is refused. Nothing of a damaged object is ever written.",
    ].join("\n"),
    examples: [
      "ibackup restore latest --disk vda --target /dev/vdb --verify",
      "ibackup restore --at 2026-11-22T17:01:02Z --target disk.img --dry-run",
      "ibackup restore 20261122T170102Z-6f3a9c1d --target - | zstd > disk.img.zst",
    ],
    statuses: [...REPOSITORY_STATUSES, ...RESTORE_STATUSES],
  })
    .argument("[backup]", BACKUP_ARGUMENT)
    .requiredOption("--target <path>", "block device, file (made sparse), or - for standard output")
    .option("--at <time>", "the newest backup not later than this, such as 2026-11-22T17:01:02Z")
    .option("--disk <name>", "the disk whose backup is meant")
    .option("--changed-only", "read the target first and write only what differs")
    .option("--replay", "apply base and incrementals one after another, in order of time")
    .option("--verify", "read everything back afterwards and compare")
    .option("--partial", "restore what can be restored, and name what cannot")
    .option("--dry-run", "print the plan and write nothing")
    .option("--force", "overwrite the disk that was backed up, or replace a file")
    .action(async (backup, { at, disk, ...options }) => {
      await run(
        async (session) => {
          refuseMixedOutput(options.target, session);
          const { restoreBackup } = await import("../job/restore.ts");
          const request = { ...OFF, ...options, backup: requestOf({ backup, at, disk }, session) };
          return resultOf(await restoreBackup(session.context, request));
        },
        { secret: true },
      );
    });
}

/** What was not asked for. */
const OFF = {
  changedOnly: false,
  replay: false,
  verify: false,
  partial: false,
  dryRun: false,
  force: false,
} as const;

const RESTORE_STATUSES = [
  "NOT_PERMITTED",
  "DEVICE",
  "LOCKED",
  "TARGET_BUSY",
  "TARGET_TOO_SMALL",
  "BACKUP_UNKNOWN",
  "CORRUPT_DATA",
  "DIFFERENT",
] as const satisfies readonly ErrorCode[];

function refuseMixedOutput(target: string, { settings }: Session): void {
  if (target !== "-" || !settings.json) return;
  throw new IbackupError("USAGE", "Cannot print JSON and the disk on standard output", {
    why: "--json was given with --target -",
    fix: "leave --json out, or write to a file",
  });
}

function resultOf(result: RestoreResult): Result {
  const lines = [describe(result), ...result.damaged.map(describeDamage)].join("\n");
  // The disk itself is on standard output: nothing else may be.
  const isStream = result.target === "-" && !result.dryRun;
  return {
    json: result,
    text: isStream ? "" : lines,
    note: isStream ? lines : "",
    ...(result.damaged.length > 0 && { status: "CORRUPT_DATA" as const }),
  };
}

function describeDamage({ object, reason, extents }: RestoreResult["damaged"][number]): string {
  return `Not restored: blocks ${blockRanges(extents)}: ${object}: ${reason}`;
}

const VERIFIED = new Map<boolean | null, string>([
  [true, ", verified"],
  [false, ", verified but for what is not restored"],
]);

function describe(result: RestoreResult): string {
  const { backupId, target, chain, requests, sizeBytes } = result;
  const size = `${formatBytes(sizeBytes)} from ${formatCount(chain.length, "backup")}`;
  const fetched = `${formatBytes(result.bytesFetched)} in ${formatCount(requests, "request")}`;
  if (result.dryRun) return `Would restore ${backupId} to ${target}: ${size}, fetching ${fetched}`;
  const written = `${formatBytes(result.bytesWritten)} written, ${formatBytes(result.bytesZeroed)} zeroed`;
  const verified = VERIFIED.get(result.verified) ?? "";
  const time = formatDuration(result.durationMs);
  return `Restored ${backupId} to ${target}: ${size}, ${fetched} fetched, ${written}${verified}, in ${time}`;
}
