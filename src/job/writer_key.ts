/** The key by which a machine signs what it stores: made when it is first needed, and never leaving it. */
import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { toHex } from "../core/hex.ts";
import { messageOf } from "../errors.ts";
import { type Signer, signerOf } from "../repo/signature.ts";
import type { JobContext } from "./context.ts";
import { createStateFile, readStateFile } from "./state_file.ts";

/** @returns Undefined where no key can be kept: nothing is signed, and the user is told why. */
export function openSigner(context: JobContext): Signer | undefined {
  try {
    const path = pathOf(context);
    const pem = readStateFile(path) ?? makeKey(context, path);
    return signerOf(createPrivateKey(pem));
  } catch (error) {
    context.progress.message(`what is stored is not signed: ${messageOf(error)}`);
    return undefined;
  }
}

/** @returns The public key of this machine; undefined when it has none, or it is not to be had. */
export function findOwnWriter(context: JobContext): string | undefined {
  try {
    const pem = readStateFile(pathOf(context));
    return pem === undefined ? undefined : signerOf(createPrivateKey(pem)).publicKey;
  } catch {
    return undefined;
  }
}

function pathOf(context: JobContext): string {
  return `${context.stateDir()}/writer.pem`;
}

function makeKey(context: JobContext, path: string): string {
  const { privateKey } = generateKeyPairSync("ed25519");
  const pem = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  if (createStateFile(path, `${path}.${toHex(context.random(8))}`, pem)) return pem;
  // Another flush was first.
  return readStateFile(path) ?? pem;
}
