import { IbackupError } from "../errors.ts";
import type { Newcomer } from "../job/keys.ts";
import { newCommand, type Run, type Session } from "./command.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";

export function keyAddCommand(run: Run) {
  return newCommand({
    name: "add",
    summary: "let one more open all backups",
    details: [
      "The newcomer is the holder of an age identity (--recipient) or of a passphrase (--passphrase-file).",
      "Somebody who can open them already has to say so: by --identity-file, or, as --passphrase-file",
      "is the newcomer's, by IBACKUP_PASSPHRASE_FILE.",
    ].join("\n"),
    examples: [
      "ibackup key add --recipient age1... --label backup-admin --identity-file id.txt",
      "ibackup key add --passphrase-file new.txt --identity-file id.txt",
    ],
    statuses: [...REPOSITORY_STATUSES, "NO_KEY", "CORRUPT_DATA", "STORE_FULL"],
  })
    .option("--recipient <key>", "public key of the newcomer")
    .option("--label <text>", "for `key list`", "")
    .action(async ({ recipient, label }) => {
      await run(
        async (session) => {
          const { addKey } = await import("../job/keys.ts");
          const newcomer = newcomerOf(recipient, session);
          const secrets = secretsOf(newcomer, session);
          const { slotId, ...holder } = await addKey(session.context, { newcomer, label, secrets });
          const json = { slotId, recipient: holder.recipient, label: holder.label };
          return { json, text: `Added the key ${slotId}` };
        },
        { secret: true },
      );
    });
}

/** For options that may be repeated. */
export function collect(value: string, before: string[]): string[] {
  return [...before, value];
}

function newcomerOf(recipient: string | undefined, { settings }: Session): Newcomer {
  const { passphraseFileGiven: passphraseFile } = settings;
  if (recipient !== undefined && passphraseFile === undefined) return { recipient };
  if (recipient === undefined && passphraseFile !== undefined) return { passphraseFile };
  throw new IbackupError("USAGE", "Cannot tell who is to be added", {
    why: recipient ? "--passphrase-file names another one than --recipient" : "nobody was named",
    fix: "give either --recipient age1... or --passphrase-file FILE",
  });
}

function secretsOf(newcomer: Newcomer, { context, settings }: Session) {
  if ("recipient" in newcomer) return context.secrets;
  const { environment } = context;
  return {
    identityFile: settings.secrets.identityFile ?? environment["IBACKUP_IDENTITY_FILE"],
    passphraseFile: environment["IBACKUP_PASSPHRASE_FILE"],
  };
}
