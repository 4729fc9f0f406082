import type { Diagnosis } from "../job/doctor.ts";
import { newCommand, type Run } from "./command.ts";
import { table } from "./text.ts";

export function doctorCommand(run: Run) {
  return newCommand({
    name: "doctor",
    summary: "tell whether this machine can track its disks and reach the store",
    details: [
      "Tries each thing: it tracks a scratch disk in memory and writes to it, and puts, gets and deletes",
      "a small object. Nothing stays behind. A failure stops backups or tracking; a warning does not.",
      'With --json: {"healthy", "findings": [{"check", "verdict", "found", "fix"}]}.',
    ].join("\n"),
    examples: ["ibackup doctor /dev/vda --repo file:///srv/backup", "ibackup doctor --json"],
    statuses: ["UNHEALTHY"],
  })
    .argument("[device...]", "disks to look at (default: `disks` of the config file, else all)")
    .action(async (named) => {
      await run(async ({ context, settings }) => {
        const { diagnose } = await import("../job/doctor.ts");
        const devices = named.length > 0 ? named : settings.disks;
        const hasRepository = settings.repo !== undefined;
        const diagnosis = await diagnose(context, {
          devices,
          hasRepository,
          wantsLock: settings.store.lock !== undefined,
        });
        return {
          json: diagnosis,
          text: describe(diagnosis),
          ...(!diagnosis.healthy && { status: "UNHEALTHY" as const }),
        };
      });
    });
}

function describe({ healthy, findings }: Diagnosis): string {
  const rows = findings.map(({ check, verdict, found }) => [verdict.padEnd(4), check, found]);
  const remedies = findings
    .filter(({ fix }) => fix !== null)
    .map(({ check, fix }) => `  ${check}: ${fix}`);
  return [
    table(rows),
    ...(remedies.length > 0 ? ["", "What to do:", ...remedies] : []),
    "",
    healthy ? "This machine can make backups" : "Something stops backups or tracking here",
  ].join("\n");
}
