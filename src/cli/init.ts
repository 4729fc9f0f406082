import { IbackupError } from "../errors.ts";
import { newCommand, type Run } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function initCommand(run: Run) {
  return newCommand({
    name: "init",
    summary: "make a repository",
    details:
      "Makes an empty repository at --repo. A folder is made where there is none; a bucket must exist.",
    examples: [
      "ibackup init --repo file:///srv/backup --no-encryption",
      "ibackup init --repo 's3://bucket/web-1?endpoint=https://s3.example.com' --no-encryption",
    ],
    statuses: [...REPOSITORY_STATUSES, "REPOSITORY_EXISTS", "STORE_FULL"],
  })
    .option("--no-encryption", "store the backups unencrypted; this version can do nothing else")
    .action(async ({ encryption }) => {
      if (encryption) throw encryptionMissing();
      await run(async ({ context }) => {
        const { initRepository } = await import("../job/init.ts");
        const made = await initRepository(context);
        const text = `Made the repository ${made.repositoryId} at ${made.url}, not encrypted`;
        return { json: made, text };
      });
    });
}

function encryptionMissing(): IbackupError {
  return new IbackupError("USAGE", "Cannot make a repository", {
    why: "this version cannot encrypt, and does not store unencrypted unless told to",
    fix: "add --no-encryption, and keep the repository where nobody else can read it",
  });
}
