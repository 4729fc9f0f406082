/** The key by which a machine signs its backups: made at its first one, and never leaving it. */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { toHex } from "../core/hex.ts";
import { messageOf } from "../errors.ts";
import { type Signer, signerOf } from "../repo/signature.ts";
import type { JobContext } from "./context.ts";
import { createStateFile, readStateFile } from "./state_file.ts";

/** @returns Undefined where no key can be kept: the backup is not signed, and the user is told why. */
export function openSigner(context: JobContext): Signer | undefined {
  try {
    const path = `${context.stateDir()}/writer.pem`;
    const pem = readStateFile(path) ?? makeKey(context, path);
    return signerOf(createPrivateKey(pem));
  } catch (error) {
    context.progress.message(`the backup is not signed: ${messageOf(error)}`);
    return undefined;
  }
}

function makeKey(context: JobContext, path: string): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  if (createStateFile(path, `${path}.${toHex(context.random(8))}`, pem)) return pem;
  // Another flush was first.
  return readStateFile(path) ?? pem;
}
