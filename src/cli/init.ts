import { IbackupError } from "../errors.ts";
import type { Newcomer } from "../job/keys.ts";
import { newCommand, type Run, type Session } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { collect } from "./key_add.ts";

export function initCommand(run: Run) {
  return newCommand({
    name: "init",
    summary: "make a repository",
    details: [
      "Makes an empty repository at --repo. A folder is made where there is none; a bucket must exist.",
      "Backups are sealed for the holders of the identities of --recipient and of the passphrase of",
      "--passphrase-file; when all of those are lost, nobody can read them. Whoever only takes backups",
      "needs neither. On a terminal, where none of these is given, a passphrase is asked for. Prints the",
      "public key of the repository, for `recipient` of [encryption] in the config file of machines that",
      "are to seal to that one only.",
    ].join("\n"),
    examples: [
      "ibackup init --repo file:///srv/backup --recipient age1...",
      "ibackup init --repo 's3://bucket/web-1?endpoint=https://s3.example.com' --passphrase-file F",
      "ibackup init --repo file:///srv/backup --no-encryption",
    ],
    statuses: [...REPOSITORY_STATUSES, "REPOSITORY_EXISTS", "STORE_FULL"],
  })
    .option("--recipient <key>", "who can open it; may be repeated", collect, [] as string[])
    .option("--no-encryption", "store the backups unencrypted: whoever reads the store reads them")
    .action(async ({ recipient: recipients, encryption }) => {
      await run(async ({ context, settings }) => {
        const { initRepository } = await import("../job/init.ts");
        const isNamed = recipients.length > 0 || !encryption;
        const holders = [
          ...recipients.map((recipient) => ({ recipient })),
          ...(await passphraseHolder({ context, settings }, isNamed)),
        ];
        if (encryption !== holders.length > 0) throw unclear(encryption);
        const made = await initRepository(context, holders);
        const text = `Made the repository ${made.repositoryId} at ${made.url}, ${describe(made)}`;
        return { json: made, text };
      });
    });
}

/** @param isNamed Whether others, or nobody, are to open it. */
async function passphraseHolder(
  { context, settings }: Pick<Session, "context" | "settings">,
  isNamed: boolean,
): Promise<Newcomer[]> {
  const { secrets, passphraseFileGiven } = settings;
  // The environment speaks of whom is to be asked, where nobody else is named.
  const passphraseFile = passphraseFileGiven ?? (isNamed ? undefined : secrets.passphraseFile);
  if (passphraseFile !== undefined) return [{ passphraseFile }];
  if (isNamed) return [];
  const { askForNewPassphrase } = await import("../job/ask_secret.ts");
  const passphrase = await askForNewPassphrase(context);
  return passphrase === undefined ? [] : [{ passphrase }];
}

function describe({ recipient }: { recipient: string | null }): string {
  return recipient === null ? "not encrypted" : `sealed to ${recipient}`;
}

function unclear(encryption: boolean): IbackupError {
  return new IbackupError("USAGE", "Cannot make a repository", {
    why: encryption
      ? "nothing says who will be able to open it, and it does not store unencrypted unless told to"
      : "--no-encryption was given together with somebody who is to open it",
    fix: "give --recipient age1..., --passphrase-file FILE, or --no-encryption",
  });
}
