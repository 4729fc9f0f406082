/** Identities and passphrases come from files, or from a terminal, never from arguments. */
import { closeSync, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { getuid } from "node:process";
import { IbackupError, messageOf } from "../errors.ts";

const FILE_BYTES_MAX = 1 << 16;
/** As age writes it, or in groups, as on a recovery sheet. */
const IDENTITY = /AGE-SECRET-KEY-1(?:\s*[02-9AC-HJ-NP-Z]){58}/gi;

/** Where secrets are. Undefined: nowhere. */
export interface SecretFiles {
  identityFile: string | undefined;
  passphraseFile: string | undefined;
  /** What was typed at a terminal: it is in no file. */
  passphrase?: string | undefined;
  identities?: readonly string[] | undefined;
}

/** What opens the keys of a repository. */
export interface Secrets {
  identities: readonly string[];
  passphrases: readonly string[];
}

/** @throws IbackupError USAGE: unreadable, readable by others, or with nothing in it. */
export function readSecrets(secrets: SecretFiles): Secrets {
  const { identityFile, passphraseFile, passphrase, identities = [] } = secrets;
  const ofFile = passphraseFile === undefined ? [] : [readPassphrase(passphraseFile)];
  return {
    identities: [
      ...(identityFile === undefined ? [] : readIdentities(identityFile)),
      ...identities,
    ],
    passphrases: passphrase === undefined ? ofFile : [...ofFile, passphrase],
  };
}

export function hasSecret(secrets: SecretFiles): boolean {
  const { identityFile, passphraseFile, passphrase, identities } = secrets;
  return (identityFile ?? passphraseFile ?? passphrase ?? identities) !== undefined;
}

function readIdentities(path: string): string[] {
  const found = readSecret("identity", path).match(IDENTITY) ?? [];
  if (found.length === 0) throw refused("identity", path, "there is no identity in it");
  return found.map((identity) => identity.replaceAll(/\s/g, "").toUpperCase());
}

/** @returns Its first line. @throws IbackupError USAGE. */
export function readPassphrase(path: string): string {
  const [passphrase = ""] = readSecret("passphrase", path).split(/\r?\n/);
  if (passphrase === "") throw refused("passphrase", path, "its first line is empty");
  return passphrase;
}

function readSecret(kind: string, path: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    throw refused(kind, path, messageOf(error));
  }
  try {
    const fault = faultOf(fstatSync(descriptor));
    if (fault !== undefined) throw refused(kind, path, fault);
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}

/** A pipe that was handed over is as private as a file. */
function faultOf(stats: Stats): string | undefined {
  if (!stats.isFile() && !stats.isFIFO()) return "it is not a regular file";
  if (stats.size > FILE_BYTES_MAX) return `it is larger than ${FILE_BYTES_MAX} bytes`;
  if (stats.uid !== 0 && stats.uid !== getuid?.()) return `it belongs to user ${stats.uid}`;
  if ((stats.mode & 0o077) !== 0) {
    return `other users may use it: its mode is ${(stats.mode & 0o777).toString(8)}`;
  }
  return undefined;
}

function refused(kind: string, path: string, why: string): IbackupError {
  return new IbackupError("USAGE", `Cannot use the ${kind} file "${path}"`, {
    why,
    fix: `name a file that holds the ${kind} and that only you can read (\`chmod 600\`)`,
  });
}
