/** Asks at the terminal for what opens a repository. */
import { IbackupError } from "../errors.ts";
import { holdersOf, readKeyRing } from "../keys/key_ring.ts";
import { hasSecret } from "../keys/secret_files.ts";
import { keepOutOfCoreFiles } from "../runtime/core_files.ts";
import type { JobContext } from "./context.ts";

/**
 * For commands that open what is sealed: asks for the passphrase when nothing else was given, and the
 * repository has a holder with one. In a pipe nobody is asked.
 *
 * @throws IbackupError INTERRUPTED, and what opening the repository throws.
 */
export async function askForSecret(context: JobContext): Promise<void> {
  const { terminal, secrets } = context;
  if (terminal === undefined || hasSecret(secrets)) return;
  const { isSealed, store, id } = await context.openRepository();
  if (!isSealed) return;
  const holders = holdersOf(await readKeyRing(store, id));
  if (holders.every(({ passphraseIdentity }) => passphraseIdentity === null)) return;
  keepOutOfCoreFiles();
  const passphrase = await terminal.ask(`Passphrase of ${store.url}: `);
  if (passphrase !== "") secrets.passphrase = passphrase;
}

/**
 * Asks for the passphrase of a new repository, twice.
 *
 * @returns Undefined where there is no terminal, or none was typed.
 * @throws IbackupError USAGE when the two differ; INTERRUPTED.
 */
export async function askForNewPassphrase({ terminal }: JobContext): Promise<string | undefined> {
  if (terminal === undefined) return undefined;
  const passphrase = await terminal.ask("Passphrase that is to open the backups: ");
  if (passphrase === "") return undefined;
  if ((await terminal.ask("The same once more: ")) === passphrase) return passphrase;
  throw new IbackupError("USAGE", "Cannot use the passphrase", {
    why: "what was typed the second time is not what was typed the first time",
    fix: "run the command again",
  });
}
