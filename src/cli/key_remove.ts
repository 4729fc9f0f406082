import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function keyRemoveCommand(run: Run) {
  return newCommand({
    name: "remove",
    summary: "shut one out of all backups to come",
    details: [
      "Removes the slot and makes a new key for the others. What the removed one could read until now he",
      "may have copied, with the key: only what is written from now on is closed to him. Machines that",
      "take backups refuse the new key until they are told: `ibackup key trust`, or the config file.",
    ].join("\n"),
    examples: [
      "ibackup key remove 0123456789abcdef --identity-file id.txt",
      "ibackup key remove 0123456789abcdef --passphrase-file pass.txt --json",
    ],
    statuses: [...REPOSITORY_STATUSES, "NO_KEY", "CORRUPT_DATA", "STORE_FULL", "LOCKED_OBJECT"],
  })
    .argument("<slot>", "as `key list` shows it")
    .action(async (slot) => {
      await run(
        async ({ context }) => {
          const { removeKey } = await import("../job/keys.ts");
          const removed = await removeKey(context, slot);
          const { recipient, edition } = removed;
          return {
            json: removed,
            text: `Removed the key ${slot}; backups are sealed to ${recipient} now (edition ${edition})`,
            note: `On machines that take backups: ibackup key trust ${recipient}`,
          };
        },
        { secret: true },
      );
    });
}
