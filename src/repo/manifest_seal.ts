/** Seals, signs and opens what of a manifest is not for everybody. */
import { Buffer } from "node:buffer";
import { corruptObject } from "../core/corrupt.ts";
import {
  bodyUpTo,
  decodeDetails,
  type Manifest,
  type ManifestDetails,
  type ManifestDraft,
} from "../core/manifest.ts";
import { openPart, sealPart } from "./cipher.ts";
import type { Opener } from "./opener.ts";
import type { Sealer } from "./sealer.ts";
import type { Signer } from "./signature.ts";

/** Any text that the schema takes: the field's own place is not part of what is bound. */
const TO_COME = "AAAA";

/** Each call gives another manifest: salt and ciphertext are new. */
export async function sealManifest(draft: ManifestDraft, sealer: Sealer): Promise<Manifest> {
  const { header, key } = sealer.begin("manifest");
  const unsigned = { writer: null, signature: null };
  if (key === undefined) return { ...draft, seal: null, ...unsigned };
  const seal = { salt: toBase64(header.salt), wrappedKey: toBase64(header.wrappedKey) };
  const manifest = { ...draft, seal, details: TO_COME, ...unsigned };
  const publicPart = bodyUpTo("details", manifest);
  const bytes = new TextEncoder().encode(JSON.stringify(draft.details));
  return { ...manifest, details: toBase64(await sealPart(key, { place: 0, publicPart, bytes })) };
}

/** @param signer Undefined: the machine has no key of its own, and nobody signs. */
export function signManifest(manifest: Manifest, signer: Signer | undefined): Manifest {
  if (signer === undefined) return manifest;
  const signed = { ...manifest, writer: signer.publicKey, signature: TO_COME };
  return { ...signed, signature: signer.sign(bodyUpTo("signature", signed)) };
}

/**
 * @param stored The manifest as it was committed, and its key for messages.
 * @throws IbackupError CORRUPT_DATA, or NO_KEY.
 */
export async function openDetails(
  { manifest, key: object }: { manifest: Manifest; key: string },
  opener: Opener,
): Promise<ManifestDetails> {
  const { seal, details } = manifest;
  if (seal === null || typeof details !== "string") return details as ManifestDetails;
  const header = { salt: fromBase64(seal.salt), wrappedKey: fromBase64(seal.wrappedKey) };
  const key = await opener.keyOf("manifest", header);
  const part = {
    place: 0,
    publicPart: bodyUpTo("details", manifest),
    bytes: fromBase64(details),
  };
  const opened = key && (await openPart(key, part));
  if (opened) return decodeDetails(object, opened);
  throw corruptObject(object, "its details cannot be opened with its key");
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}
