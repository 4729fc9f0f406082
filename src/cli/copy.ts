import { formatBytes, formatCount } from "../core/units.ts";
import type { CopyResult } from "../job/copy.ts";
import { BACKUP_ARGUMENT } from "./backup_choice.ts";
import { newCommand, type Result, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function copyCommand(run: Run) {
  return newCommand({
    name: "copy",
    summary: "copy backups to another store",
    details: [
      "Makes the repository there when there is none: the same one, with the same id and keys. Objects",
      "go over as they are, each checked. Into a repository that `ibackup init` has made there, with keys",
      "of its own, everything is opened, checked, and sealed to those. What is there already is not sent",
      "again: run it again after any failure, or from cron. Without BACKUP all are copied; a copy whose",
      "parents stay behind is a base. Each of the two can be pruned by itself.",
      "The rules of the other store are those below [copy] in the config file, where [store] has those",
      "of the repository; --upload-limit goes before both.",
      'With --json: {"to", "copied": [{"backupId", "isNew", "bytesCopied"}]}.',
    ].join("\n"),
    examples: [
      "ibackup copy --to 's3://other-bucket/web-1?endpoint=https://s3.example.org'",
      "ibackup copy --to file:///mnt/usb/backup 20261122T170102Z-6f3a9c1d",
    ],
    statuses: [
      ...REPOSITORY_STATUSES,
      "REPOSITORY_EXISTS",
      "LOCKED",
      "STORE_FULL",
      "BACKUP_UNKNOWN",
      "CORRUPT_DATA",
    ],
  })
    .argument("[backup...]", BACKUP_ARGUMENT.replace(", or `latest`", ""))
    .requiredOption("--to <url>", "the store that they go to")
    .option("--disk <name>", "only backups of the disk of that name")
    .action(async (backups, { to, disk }) => {
      await run(async ({ context, settings }) => {
        const { copy } = await import("../job/copy.ts");
        const scope = { vmId: settings.vmGiven, diskName: disk };
        const rules = settings.copyStore;
        return resultOf(await copy(context, { to, rules, backups, scope }));
      });
    });
}

function resultOf(result: CopyResult): Result {
  const { to, copied } = result;
  const fresh = copied.filter(({ isNew }) => isNew);
  const bytes = copied.reduce((sum, { bytesCopied }) => sum + bytesCopied, 0);
  const before = copied.length - fresh.length;
  return {
    json: result,
    text: fresh.map(({ backupId }) => backupId).join("\n"),
    note: `${formatCount(fresh.length, "backup")} copied to ${to}, ${formatBytes(bytes)}; ${before} there already`,
  };
}
