import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function keyExportCommand(run: Run) {
  return newCommand({
    name: "export",
    summary: "make a recovery sheet to print",
    details: [
      "Adds a holder whose identity is on the sheet and nowhere else, so that it can be removed alone. The",
      "sheet can be used as --identity-file.",
    ].join("\n"),
    examples: [
      "ibackup key export --identity-file id.txt | lp",
      "ibackup key export --out /media/usb/sheet.txt --identity-file id.txt",
    ],
    statuses: [...REPOSITORY_STATUSES, "NO_KEY", "CORRUPT_DATA", "STORE_FULL"],
  })
    .option("--out <file>", "write it to a new file that only you can read")
    .action(async ({ out }) => {
      await run(
        async ({ context }) => {
          const { exportKey } = await import("../job/keys.ts");
          const { slotId, sheet } = await exportKey(context, out);
          if (out === undefined) return { json: { slotId, sheet }, text: sheet.trimEnd() };
          return {
            json: { slotId, out },
            text: `Wrote the recovery sheet of the key ${slotId} to ${out}`,
          };
        },
        { secret: true },
      );
    });
}
