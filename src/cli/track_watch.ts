import { formatCount, parseDuration } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import type { Watched } from "../job/watch.ts";
import { newCommand, type Run } from "./command.ts";

export function trackWatchCommand(run: Run) {
  return newCommand({
    name: "watch",
    summary: "print the numbers of blocks as they turn dirty, until interrupted",
    details: [
      "A block is reported when it is written for the first time since the last flush. Prints one line",
      "per run of blocks: device, first block, number of blocks; with --json one document at the end.",
      "Events that find no room in the buffer are counted; a flush misses nothing because of them.",
    ].join("\n"),
    examples: ["ibackup track watch /dev/vda", "ibackup track watch --for 10s --json"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "DEVICE", "TRACKER"],
  })
    .argument("[device...]", "disks or partitions (default: all that are tracked)")
    .option("--for <duration>", "end after so long (default: when interrupted)", parseDuration)
    .option("--buffer-pages <count>", "memory pages of each CPU's event buffer", parsePages, 64)
    .action(async (devices, options) => {
      await run(async ({ context, settings, writeLine }) => {
        const { watchDevices } = await import("../job/watch.ts");
        const watched = await watchDevices(context, {
          devices,
          forMs: options.for,
          bufferPages: options.bufferPages,
          onListening: () => context.progress.message("listening"),
          ...(!settings.json && {
            onBlocks: (device, { firstBlock, blockCount }) =>
              writeLine(`${device} ${firstBlock} ${blockCount}`),
          }),
        });
        return { json: watched, text: "", note: describe(watched) };
      });
    });
}

function describe({ devices, eventsLost }: Watched): string {
  const blocks = devices.reduce((sum, device) => sum + device.blocksReported, 0);
  return `${formatCount(blocks, "block")} reported, ${formatCount(eventsLost, "event")} lost`;
}

/** The kernel wants a power of two. */
function parsePages(text: string): number {
  const count = Number(text);
  if (Number.isInteger(Math.log2(count)) && count <= 4096) return count;
  throw new IbackupError("USAGE", `Cannot use a buffer of ${text} pages`, {
    why: "the number of pages must be a power of two, at most 4096",
    fix: "leave --buffer-pages out, or write for example 64",
  });
}
