import type { ManifestDetails } from "../core/manifest.ts";
import { formatBytes, formatCount, formatDuration, formatInstant } from "../core/units.ts";
import type { BackupDetails } from "../job/catalogue.ts";
import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { properties } from "./text.ts";

export function showCommand(run: Run) {
  return newCommand({
    name: "show",
    summary: "show one backup: its manifest and its chain",
    details: "With --json the whole manifest, its SHA-256, and the ids of its chain, base first.",
    examples: ["ibackup show latest --disk vda", "ibackup show 20261122T170102Z-6f3a9c1d --json"],
    statuses: [...REPOSITORY_STATUSES, "BACKUP_UNKNOWN", "CORRUPT_DATA"],
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .option("--disk <name>", "the disk whose `latest` is meant")
    .action(async (backup, { disk }) => {
      await run(async (session) => {
        const { showBackup } = await import("../job/catalogue.ts");
        const details = await showBackup(session.context, requestOf({ backup, disk }, session));
        return { json: details, text: describe(details) };
      });
    });
}

const SEALED = "sealed; --identity-file or --passphrase-file opens it";

function describe({ manifest, manifestSha256, chain, problem }: BackupDetails): string {
  const { disk, gapCheck, blockBytes } = manifest;
  const details = typeof manifest.details === "string" ? undefined : manifest.details;
  const blocks = `${formatCount(manifest.blocksChanged, "block")} of ${formatBytes(blockBytes)}`;
  return properties([
    ["backup", manifest.backupId],
    ["VM", manifest.vmId],
    ["disk", `${disk.name}, ${formatBytes(disk.sizeBytes)} (${disk.sizeBytes} bytes)`],
    ["disk identity", `${disk.identity.kind} ${disk.identity.value}`],
    ["type", manifest.type],
    ["parent", manifest.parentId ?? "none"],
    ["chain", chain === null ? `broken: ${problem}` : formatCount(chain.length, "backup")],
    ["represents", formatInstant(new Date(manifest.capturedAt))],
    ["consistency", manifest.consistency],
    ["gap check", `${gapCheck}: ${details?.gapReason ?? SEALED}`],
    ["trigger", manifest.trigger ?? "not said"],
    ["holds", `${blocks}, ${formatCount(manifest.blocksZero, "block")} of zeroes`],
    ["read", formatBytes(manifest.bytesRead)],
    ["stored", formatBytes(manifest.bytesStored)],
    ["passes", String(manifest.passes)],
    ["frozen for", manifest.freezeMs === null ? "not frozen" : formatDuration(manifest.freezeMs)],
    ["took", formatDuration(durationOf(manifest))],
    ["tracking", details ? describeTracking(details.tracking) : SEALED],
    ["manifest", `SHA-256 ${manifestSha256}`],
    ["made by", `ibackup ${manifest.ibackupVersion}`],
  ]);
}

function durationOf({ startedAt, finishedAt }: BackupDetails["manifest"]): number {
  return Math.max(0, Date.parse(finishedAt) - Date.parse(startedAt));
}

function describeTracking(tracking: ManifestDetails["tracking"]): string {
  if (tracking === null) return "none";
  const taints = tracking.taints.map(({ reason, count }) => `${count} ${reason}`);
  const hooks = tracking.hooks.join(", ");
  const parts = [`session ${tracking.session}`, `epoch ${tracking.epoch}`, `hooks ${hooks}`];
  return [...parts, ...taints.map((taint) => `taint: ${taint}`)].join(", ");
}
