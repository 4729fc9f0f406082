import { renameSync, rmSync, writeFileSync } from "node:fs";
import { pid } from "node:process";
import { IbackupError, messageOf } from "../errors.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { askStatus } from "./status.ts";

export function metricsCommand(run: Run) {
  return newCommand({
    name: "metrics",
    summary: "print what Prometheus wants to know, or write it for node_exporter",
    details: [
      "docs/METRICS.md lists all that is told. The file is replaced at once, so that nobody reads half",
      "of it. The daemon answers the same at /v1/metrics on its socket.",
      'With --json: {"metrics": TEXT, "textfile": PATH or null}.',
    ].join("\n"),
    examples: [
      "ibackup metrics",
      "ibackup metrics --textfile /var/lib/prometheus/node-exporter/ibackup.prom",
    ],
    statuses: [...REPOSITORY_STATUSES, "NOT_PERMITTED"],
  })
    .option("--textfile <path>", "write it there, for the textfile collector of node_exporter")
    .action(async ({ textfile }) => {
      await run(async (session) => {
        const { metricsText } = await import("../daemon/metrics.ts");
        const metrics = metricsText(await askStatus(session));
        if (textfile !== undefined) replaceFile(textfile, metrics);
        const text = textfile === undefined ? metrics.trimEnd() : "";
        return { json: { metrics, textfile: textfile ?? null }, text };
      });
    });
}

function replaceFile(path: string, text: string): void {
  // The collector reads what ends in .prom; this does not.
  const draft = `${path}.${pid}.new`;
  try {
    writeFileSync(draft, text, { mode: 0o644, flag: "wx" });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw new IbackupError("IO", `Cannot write "${path}"`, {
      why: messageOf(error),
      fix: "name a file in a folder that exists, ending in .prom",
    });
  }
}
