import { formatBytes, formatCount, parseShortDuration } from "../core/units.ts";
import type { GcJobResult } from "../job/gc.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

const GRACE = { maxMs: 3650 * 24 * 60 * 60 * 1000, orZero: true };

export function gcCommand(run: Run) {
  return newCommand({
    name: "gc",
    summary: "free the space of what no backup needs any more",
    details: [
      "Removes objects that nothing reaches and that were stored longer ago than the grace time, by the",
      "clock of the store. Flushes may run meanwhile, on any machine: what they store stays, also with",
      "--grace 0s. Killed at any moment, it can simply be run again.",
      'With --json: {"dryRun", "packs", "indexes", "documents", "bytes", "youngObjects", "youngBytes",',
      '"lockedObjects", "rewrittenPacks", "rewrittenBytes"}.',
    ].join("\n"),
    examples: ["ibackup gc --repo file:///srv/backup", "ibackup gc --grace 24h --dry-run"],
    statuses: [...REPOSITORY_STATUSES, "LOCKED", "CORRUPT_DATA"],
  })
    .option("--grace <duration>", "what was stored less long ago stays", "72h")
    .option("--dry-run", "say what would be removed, and remove nothing")
    .action(async ({ grace, dryRun = false }) => {
      await run(async ({ context }) => {
        const graceMs = parseShortDuration(grace, GRACE);
        const { gc } = await import("../job/gc.ts");
        const result = await gc(context, { graceMs, dryRun });
        return { json: result, text: describe(result) };
      });
    });
}

function describe({ dryRun, packs, indexes, documents, bytes, ...left }: GcJobResult): string {
  const parts = [
    formatCount(packs, "pack"),
    formatCount(indexes, "index object"),
    formatCount(documents, "document"),
  ];
  const verb = dryRun ? "Would remove" : "Removed";
  const lines = [`${verb} ${parts.join(", ")}: ${formatBytes(bytes)}`];
  if (left.youngObjects > 0) {
    const young = formatCount(left.youngObjects, "object");
    lines.push(`${young}, ${formatBytes(left.youngBytes)}, not needed but too young`);
  }
  if (left.rewrittenPacks > 0) {
    const packs = formatCount(left.rewrittenPacks, "pack");
    lines.push(
      `${packs} of which little was left stored anew in ${formatBytes(left.rewrittenBytes)}; another gc can remove them`,
    );
  }
  if (left.lockedObjects > 0) {
    lines.push(`${formatCount(left.lockedObjects, "object")} not let go by the store yet`);
  }
  return lines.join("\n");
}
