/** Gives a repository its keys: those to seal with, and those that the user's secrets open. */

import { assert, IbackupError } from "../errors.ts";
import { unwrapWith, wrapFor } from "../keys/age.ts";
import { readKeyRing, unlock } from "../keys/key_ring.ts";
import { hasSecret, readSecrets } from "../keys/secret_files.ts";
import type { FindKeys } from "../repo/repository.ts";
import { keepOutOfCoreFiles } from "../runtime/core_files.ts";
import type { JobContext } from "./context.ts";
import { trustedRecipient } from "./trusted_recipient.ts";

type KeyContext = Pick<
  JobContext,
  "openStore" | "secrets" | "pinnedRecipient" | "stateDir" | "random" | "freezeGate"
>;

/** Secrets are read when something is to be opened, and not before. */
export function findKeys(context: KeyContext): FindKeys {
  return (repositoryId) => {
    let identities: Promise<string[]> | undefined;
    return {
      // It may be asked for after the repository was opened.
      get hasIdentity() {
        return hasSecret(context.secrets);
      },
      wrap: async (dataKey) => {
        keepOutOfCoreFiles();
        const ring = await readKeyRing(await context.openStore(), repositoryId);
        const wrapped = await wrapFor(trustedRecipient(context, ring), dataKey);
        assert(wrapped !== undefined, "what a key document holds is a public key");
        return wrapped;
      },
      unwrap: async (wrappedKey) => {
        identities ??= openIdentities(context, repositoryId);
        const dataKey = await unwrapWith(await identities, wrappedKey);
        if (dataKey !== undefined) return dataKey;
        throw unopened();
      },
    };
  };
}

async function openIdentities(context: KeyContext, repositoryId: string): Promise<string[]> {
  keepOutOfCoreFiles();
  const secrets = readSecrets(context.secrets);
  const ring = await readKeyRing(await context.openStore(), repositoryId);
  // A passphrase keeps the thread busy for a second or more.
  const { unlocked } = await context.freezeGate.write(() => unlock(ring, secrets));
  return unlocked.map(({ identity }) => identity);
}

function unopened(): IbackupError {
  return new IbackupError("CORRUPT_DATA", "Cannot open a sealed object", {
    why: "its wrapped key is damaged, or for a key that your identity does not hold",
    fix: "run `ibackup verify`; somebody who can open it can give you the key by `ibackup key add`",
  });
}
