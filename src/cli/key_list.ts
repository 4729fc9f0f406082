import type { ListedHolder } from "../job/keys.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function keyListCommand(run: Run) {
  return newCommand({
    name: "list",
    summary: "show who can open the backups",
    details: "Needs no identity. The first line has the public key that backups are sealed to.",
    examples: ["ibackup key list --repo file:///srv/backup", "ibackup key list --json"],
    statuses: [...REPOSITORY_STATUSES, "CORRUPT_DATA"],
  }).action(async () => {
    await run(async ({ context }) => {
      const { listKeys } = await import("../job/keys.ts");
      const list = await listKeys(context);
      const sealed = `sealed to ${list.recipient} (edition ${list.edition})`;
      return { json: list, text: [sealed, ...list.holders.map(describe)].join("\n") };
    });
  });
}

function describe({ slotId, holder, recipient, label, createdAt, opensNewest }: ListedHolder) {
  const who = holder === "passphrase" ? "passphrase" : recipient;
  const parts = [slotId, createdAt.slice(0, 10), who, label, opensNewest ? "" : "(old ones only)"];
  return parts.filter((part) => part !== "").join("  ");
}
