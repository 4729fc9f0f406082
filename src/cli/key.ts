import { newCommand, type Run } from "./command.ts";
import { keyAddCommand } from "./key_add.ts";
import { keyExportCommand } from "./key_export.ts";
import { keyListCommand } from "./key_list.ts";
import { keyRemoveCommand } from "./key_remove.ts";
import { keyTrustCommand } from "./key_trust.ts";

export function keyCommand(run: Run) {
  return newCommand({
    name: "key",
    summary: "show and change who can open the backups of a repository",
    details: [
      "Backups are sealed to a public key of the repository. What opens them is kept in the repository,",
      "wrapped for each holder: of an age identity, or of a passphrase.",
    ].join("\n"),
    examples: ["ibackup key list", "ibackup key add --recipient age1... --identity-file id.txt"],
    statuses: ["NO_KEY"],
  })
    .addCommand(keyListCommand(run))
    .addCommand(keyAddCommand(run))
    .addCommand(keyRemoveCommand(run))
    .addCommand(keyExportCommand(run))
    .addCommand(keyTrustCommand(run));
}
