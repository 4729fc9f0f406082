import { newCommand, type Run } from "./command.ts";

export function trackStopCommand(run: Run) {
  return newCommand({
    name: "stop",
    summary: "stop noting which blocks are written",
    details: [
      "Without DEVICE everything is stopped, and nothing of ibackup stays in the kernel. The next flush",
      "of a disk that was stopped compares all of it.",
    ].join("\n"),
    examples: ["ibackup track stop", "ibackup track stop /dev/vdb"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "DEVICE", "TRACKER"],
  })
    .argument("[device...]", "disks or partitions")
    .action(async (named) => {
      await run(async ({ context }) => {
        const { stopTracking } = await import("../job/track.ts");
        const { findDaemon } = await import("../api/client.ts");
        const daemon = await findDaemon(context.runtimeDir());
        const result = daemon
          ? ((await daemon.track("stop", { devices: named })) as { stopped: string[] })
          : await stopTracking(context, named);
        const { stopped } = result;
        const text = stopped.length > 0 ? `Stopped tracking ${stopped.join(", ")}` : NOTHING;
        return { json: result, text };
      });
    });
}

const NOTHING = "Nothing was tracked";
