import { formatBytes, formatCount } from "../core/units.ts";
import type { TrackedDevice, Tracking } from "../job/track.ts";
import { newCommand, type Run } from "./command.ts";
import { properties, table } from "./text.ts";

export function trackStatusCommand(run: Run) {
  return newCommand({
    name: "status",
    summary: "show the hooks, the tracked disks, and how much has changed on them",
    details: [
      "DIRTY is what was written since the last flush took the blocks over. A taint means that writes",
      "may have passed unseen: the next flush compares the whole disk.",
    ].join("\n"),
    examples: ["ibackup track status", "ibackup track status /dev/vda --json"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "DEVICE", "TRACKER"],
  })
    .argument("[device...]", "disks or partitions (default: all that are tracked)")
    .action(async (named) => {
      await run(async ({ context }) => {
        const { trackingStatus } = await import("../job/track.ts");
        const tracking = await trackingStatus(context, named);
        return { json: tracking, text: describe(tracking) };
      });
    });
}

function describe({ session, devices }: Tracking): string {
  if (session === null) return "Nothing is tracked";
  const head = properties([
    ["session", session.id],
    ["hooks", session.hooks.join(", ") || "none"],
    ["buffer hook", session.bufferHook],
    ["listener", session.listening ? "yes" : "no"],
  ]);
  const rows = devices.map((device) => [
    device.device,
    formatBytes(device.sectorCount * 512),
    device.hooks.join(", "),
    formatCount(device.dirtyBlocks, "block"),
    String(device.counters.completed),
    describeTaints(device),
  ]);
  const titles = ["DEVICE", "SIZE", "HOOKS", "DIRTY", "WRITES", "TAINTS"];
  return `${head}\n\n${table([titles, ...rows], new Set([1, 3, 4]))}`;
}

function describeTaints({ taints }: TrackedDevice): string {
  const raised = Object.entries(taints).filter(([, count]) => count > 0);
  return raised.map(([reason, count]) => `${count} ${reason}`).join(", ") || "none";
}
