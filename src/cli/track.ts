import { newCommand, type Run } from "./command.ts";
import { trackStartCommand } from "./track_start.ts";
import { trackStatusCommand } from "./track_status.ts";
import { trackStopCommand } from "./track_stop.ts";
import { trackWatchCommand } from "./track_watch.ts";

export function trackCommand(run: Run) {
  return newCommand({
    name: "track",
    summary: "attach, detach, and show the hooks that note which blocks are written",
    details: [
      "Tracking needs no process: the hooks stay in the kernel until `track stop` or the next boot.",
      "After a boot the next flush compares the whole disk once.",
    ].join("\n"),
    examples: ["ibackup track start /dev/vda", "ibackup track status --json"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "DEVICE", "TRACKER"],
  })
    .addCommand(trackStartCommand(run))
    .addCommand(trackStopCommand(run))
    .addCommand(trackStatusCommand(run))
    .addCommand(trackWatchCommand(run));
}
