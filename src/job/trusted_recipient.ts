/**
 * Which public key backups are sealed to. A store that could put its own in place would read all
 * that is written from then on, so a machine stays with the key that it saw first, or that its
 * config file names, until it is told otherwise.
 */
import { mkdirSync } from "node:fs";
import { toHex } from "../core/hex.ts";
import { IbackupError } from "../errors.ts";
import { type KeyRing, newestRecipient } from "../keys/key_ring.ts";
import type { JobContext } from "./context.ts";
import { readStateFile, replaceStateFile } from "./state_file.ts";

type TrustContext = Pick<JobContext, "pinnedRecipient" | "stateDir" | "random">;

/**
 * The public key of the newest edition. The first one that this machine sees it trusts.
 *
 * @throws IbackupError KEY_CHANGED for another; CORRUPT_DATA when there is none.
 */
export function trustedRecipient(context: TrustContext, ring: KeyRing): string {
  const newest = newestRecipient(ring);
  const { pinnedRecipient } = context;
  if (pinnedRecipient !== undefined) {
    if (pinnedRecipient === newest) return newest;
    throw changed(newest, {
      why: `the config file says ${pinnedRecipient}`,
      fix: "set `recipient` of [encryption] to the new one",
    });
  }
  const known = readStateFile(pathOf(context, ring.repositoryId))?.trim();
  if (known === newest) return newest;
  if (known === undefined) {
    trustRecipient(context, ring.repositoryId, newest);
    return newest;
  }
  throw changed(newest, {
    why: `until now it was ${known}`,
    fix: `run \`ibackup key trust ${newest}\``,
  });
}

/** From now on this machine seals to that key. @throws What the system says. */
export function trustRecipient(
  context: TrustContext,
  repositoryId: string,
  recipient: string,
): void {
  const path = pathOf(context, repositoryId);
  mkdirSync(`${context.stateDir()}/trusted`, { recursive: true, mode: 0o700 });
  replaceStateFile(path, `${path}.${toHex(context.random(8))}`, `${recipient}\n`);
}

function pathOf({ stateDir }: TrustContext, repositoryId: string): string {
  return `${stateDir()}/trusted/${repositoryId}`;
}

function changed(newest: string, { why, fix }: { why: string; fix: string }): IbackupError {
  return new IbackupError("KEY_CHANGED", `Refusing to seal a backup to ${newest}`, {
    why: `the repository says that this is its key, and ${why}`,
    fix: `if somebody ran \`ibackup key remove\`, and \`ibackup key list\` shows this key where you trust the machine, ${fix}; else somebody tries to read your backups`,
  });
}
