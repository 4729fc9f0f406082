import { formatBytes, formatCount, formatInstant } from "../core/units.ts";
import type { Catalogue, CatalogueEntry } from "../job/catalogue.ts";
import { newCommand, type Result, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { table } from "./text.ts";

export function listCommand(run: Run) {
  return newCommand({
    name: "list",
    summary: "list the backups, oldest first",
    details: [
      "SIZE is what the backup itself takes in the repository. With --vm, only backups of that VM.",
      'With --json: {"backups": [{"backupId", "vmId", "disk", "type", "capturedAt", "parentId",',
      '"consistency", "blocksChanged", "bytesStored", "tags", "protected", "blocksLost"}]}.',
    ].join("\n"),
    examples: [
      "ibackup list --repo file:///srv/backup",
      "ibackup list --vm web-1 --disk vda --json",
    ],
    statuses: [...REPOSITORY_STATUSES, "CORRUPT_DATA"],
  })
    .option("--disk <name>", "only backups of the disk of that name")
    .action(async ({ disk }) => {
      await run(async ({ context, settings }) => {
        const { listBackups } = await import("../job/catalogue.ts");
        const { noteBackups } = await import("../job/completion.ts");
        const scope = { vmId: settings.vmGiven, diskName: disk };
        const catalogue = await listBackups(context, scope);
        await noteBackups(context, catalogue.backups);
        for (const { error } of catalogue.damaged) {
          context.progress.message(`warning: ${error.message}: ${error.why}`);
        }
        return resultOf(catalogue);
      });
    });
}

function resultOf({ backups, damaged }: Catalogue): Result {
  return {
    json: { backups },
    text: backups.length === 0 ? "" : catalogueTable(backups),
    note: backups.length === 0 ? "no backups" : "",
    ...(damaged.length > 0 && { status: "CORRUPT_DATA" as const }),
  };
}

function catalogueTable(backups: readonly CatalogueEntry[]): string {
  const rows = backups.map((backup) => [
    backup.backupId,
    backup.vmId,
    backup.disk,
    describeType(backup),
    formatInstant(new Date(backup.capturedAt)),
    backup.consistency,
    formatBytes(backup.bytesStored),
    [
      ...(backup.blocksLost > 0 ? [`(${formatCount(backup.blocksLost, "block")} lost)`] : []),
      ...(backup.protected ? ["(protected)"] : []),
      ...backup.tags,
    ].join(" "),
  ]);
  const titles = ["BACKUP", "VM", "DISK", "TYPE", "DATE AND TIME", "CONSISTENCY", "SIZE", ""];
  return table([titles, ...rows], new Set([titles.length - 2]));
}

/** "base", or "incremental, 12 blocks". */
function describeType({ type, blocksChanged }: CatalogueEntry): string {
  return type === "base" ? type : `${type}, ${formatCount(blocksChanged, "block")}`;
}
