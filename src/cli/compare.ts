import { formatCount, formatDuration } from "../core/units.ts";
import type { CompareResult } from "../job/compare.ts";
import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Result, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function compareCommand(run: Run) {
  return newCommand({
    name: "compare",
    summary: "tell where a backup and a disk or image file differ",
    details: [
      "Reads all of the disk, past the page cache. What is larger than the backup is not looked at past",
      "its end. With --json: the first 1000 extents that differ, in blocks.",
    ].join("\n"),
    examples: [
      "ibackup compare latest /dev/vdb --disk vda",
      "ibackup compare 2026 disk.img --json",
    ],
    statuses: [
      ...REPOSITORY_STATUSES,
      "NOT_PERMITTED",
      "DEVICE",
      "BACKUP_UNKNOWN",
      "CORRUPT_DATA",
      "DIFFERENT",
    ],
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .argument("<device>", "block device or image file")
    .option("--disk <name>", "the disk whose `latest` is meant")
    .action(async (backup, device, { disk }) => {
      await run(
        async (session) => {
          const { compareBackup } = await import("../job/compare.ts");
          const request = { backup: requestOf({ backup, disk }, session), device };
          return resultOf(await compareBackup(session.context, request));
        },
        { secret: true },
      );
    });
}

const EXTENTS_SHOWN = 20;

function resultOf(result: CompareResult): Result {
  const { backupId, device, differentBlocks, extents } = result;
  const time = `in ${formatDuration(result.durationMs)}`;
  if (differentBlocks === 0) {
    const all = formatCount(result.blocksCompared, "block");
    return { json: result, text: `${device} is identical to ${backupId}: ${all} compared ${time}` };
  }
  const shown = extents
    .slice(0, EXTENTS_SHOWN)
    .map((extent) => describe(extent, result.blockBytes));
  const more = extents.length > shown.length ? ["  ..."] : [];
  const count = formatCount(differentBlocks, "block");
  const head = `${device} differs from ${backupId} in ${count} (compared ${time}):`;
  return { json: result, text: [head, ...shown, ...more].join("\n"), status: "DIFFERENT" };
}

function describe(
  { firstBlock, blockCount }: CompareResult["extents"][number],
  blockBytes: number,
): string {
  return `  ${formatCount(blockCount, "block")} from block ${firstBlock}, byte ${firstBlock * blockBytes}`;
}
