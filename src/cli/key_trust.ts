import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function keyTrustCommand(run: Run) {
  return newCommand({
    name: "trust",
    summary: "seal the backups of this machine to another key of the repository",
    details: [
      "A machine seals its backups to the key that it saw first, and refuses another: else whoever can",
      "write to the store could have them sealed to himself.",
    ].join("\n"),
    examples: ["ibackup key trust age1...", "ibackup key trust age1... --repo file:///srv/backup"],
    statuses: [...REPOSITORY_STATUSES, "NOT_PERMITTED", "CORRUPT_DATA"],
  })
    .argument("<recipient>", "the new key, as `key list` shows it on a machine that you trust")
    .action(async (recipient) => {
      await run(async ({ context }) => {
        const { trustKey } = await import("../job/keys.ts");
        await trustKey(context, recipient);
        return {
          json: { recipient },
          text: `Backups of this machine are sealed to ${recipient} now`,
        };
      });
    });
}
