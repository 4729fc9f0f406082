/** What ibackup uses of age (age-encryption.org/v1): small secrets, wrapped for a key or passphrase. */
import { Decrypter, Encrypter, generateX25519Identity, identityToRecipient } from "age-encryption";

/** An X25519 key pair. */
export interface Pair {
  /** `AGE-SECRET-KEY-1...`: secret. */
  identity: string;
  /** `age1...`: public. */
  recipient: string;
}

export async function makePair(): Promise<Pair> {
  const identity = await generateX25519Identity();
  return { identity, recipient: await identityToRecipient(identity) };
}

/** @returns Undefined when it is no identity. */
export async function pairOf(identity: string): Promise<Pair | undefined> {
  try {
    return { identity, recipient: await identityToRecipient(identity) };
  } catch {
    // It says what is wrong with the text, and so may say what the text is.
    return undefined;
  }
}

/** @returns A binary age file. Undefined when it is no public key: its letters may be mistyped. */
export async function wrapFor(
  recipient: string,
  secret: Uint8Array | string,
): Promise<Uint8Array | undefined> {
  const encrypter = new Encrypter();
  try {
    encrypter.addRecipient(recipient);
  } catch {
    return undefined;
  }
  return await encrypter.encrypt(secret);
}

/** Takes about a second: so does each guess of somebody who has the file only. */
export async function wrapByPassphrase(passphrase: string, secret: string): Promise<Uint8Array> {
  const encrypter = new Encrypter();
  encrypter.setPassphrase(passphrase);
  return await encrypter.encrypt(secret);
}

/** @returns Undefined when none of the identities opens it, or it is no age file. */
export async function unwrapWith(
  identities: readonly string[],
  file: Uint8Array,
): Promise<Uint8Array | undefined> {
  const decrypter = new Decrypter();
  for (const identity of identities) decrypter.addIdentity(identity);
  return await tryDecrypt(decrypter, file);
}

/** @returns Undefined when the passphrase does not open it, or it is no age file. */
export async function unwrapByPassphrase(
  passphrase: string,
  file: Uint8Array,
): Promise<Uint8Array | undefined> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(passphrase);
  return await tryDecrypt(decrypter, file);
}

/** Whatever does not open is the same to us: another's, or damaged. All its errors say that. */
async function tryDecrypt(decrypter: Decrypter, file: Uint8Array): Promise<Uint8Array | undefined> {
  try {
    return await decrypter.decrypt(file);
  } catch {
    return undefined;
  }
}
