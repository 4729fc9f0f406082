import { BACKUP_ARGUMENT, requestOf } from "./backup_choice.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function rebaseCommand(run: Run) {
  return newCommand({
    name: "rebase",
    summary: "make an incremental a base, without moving data",
    details:
      "The backup names itself what its whole chain is made of, and needs none of its parents any more.",
    examples: [
      "ibackup rebase latest --disk vda",
      "ibackup rebase 20261122T170102Z-6f3a9c1d --json",
    ],
    statuses: [...REPOSITORY_STATUSES, "LOCKED", "BACKUP_UNKNOWN", "CORRUPT_DATA"],
  })
    .argument("<backup>", BACKUP_ARGUMENT)
    .option("--disk <name>", "the disk whose `latest` is meant")
    .action(async (backup, { disk }) => {
      await run(async (session) => {
        const { rebase } = await import("../job/rebase.ts");
        const result = await rebase(session.context, requestOf({ backup, disk }, session));
        const outcome = result.changed ? "is a base now" : "is a base already";
        return { json: result, text: `${result.backupId} ${outcome}` };
      });
    });
}
