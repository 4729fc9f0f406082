import { formatBytes } from "../core/units.ts";
import type { Started, TrackedDevice } from "../job/track.ts";
import { chooseDevices, newCommand, type Run } from "./command.ts";
import { Option } from "./commander.ts";

const HOOKS = {
  block: ["block"],
  buffer: ["buffer"],
  both: ["block", "buffer"],
} as const;

export function trackStartCommand(run: Run) {
  return newCommand({
    name: "start",
    summary: "note which blocks are written from now on",
    details: [
      "Default: `disks` of the config file. Hook `block` watches requests to the disk and sees every",
      "write; hook `buffer` watches mark_buffer_dirty, and does not see what many file systems write.",
    ].join("\n"),
    examples: ["ibackup track start /dev/vda", "ibackup track start /dev/vda /dev/vdb --hook both"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "DEVICE", "TRACKER"],
  })
    .argument("[device...]", "disks or partitions")
    .addOption(
      new Option("--hook <name>", "where writes are seen")
        .choices(["block", "buffer", "both"] as const)
        .default("block" as const),
    )
    .action(async (named, { hook }) => {
      await run(async ({ context, settings }) => {
        const { startTracking } = await import("../job/track.ts");
        const { findDaemon } = await import("../api/client.ts");
        const devices = chooseDevices(named, settings);
        const daemon = await findDaemon(context.runtimeDir());
        const started = daemon
          ? ((await daemon.track("start", { devices, hook })) as Started)
          : await startTracking(context, devices, HOOKS[hook]);
        return {
          json: started,
          text: started.devices.map((each) => line(each, started)).join("\n"),
        };
      });
    });
}

function line(tracked: TrackedDevice, { already, session }: Started): string {
  const size = formatBytes(tracked.sectorCount * 512);
  const verb = already.includes(tracked.device) ? "Already tracking" : "Tracking";
  const hooks = `hook ${tracked.hooks.join(" and ")}`;
  const blocks = `blocks of ${formatBytes(tracked.blockBytes)}`;
  return `${verb} ${tracked.device} (${size}, ${blocks}, ${hooks}) in session ${session?.id ?? "none"}`;
}
