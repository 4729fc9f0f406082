import { messageOf } from "../errors.ts";
import { corruptObject, newerFormat } from "./corrupt.ts";

/** SHA-256 as 64 lower-case hexadecimal digits. Passed in, since core calls nothing of the host. */
export type Sha256Hex = (bytes: Uint8Array) => string;

/**
 * A kind of document: one header line, then JSON.
 *
 * The header gives kind, format version and the digest of the rest, so that damage, a newer format
 * and a file of something else are three different answers.
 */
export interface DocumentKind {
  name: "repository" | "manifest" | "lease" | "map" | "note" | "key" | "head";
  version: number;
}

/**
 * The beginning of a body, up to the line of a field of the outermost object: what is signed, or bound.
 *
 * @param value As `encodeDocument` gets it.
 */
export function bodyUpTo(field: string, value: unknown): Uint8Array {
  const body = JSON.stringify(value, null, 2);
  // No text inside of the body has a line break of its own.
  return new TextEncoder().encode(body.slice(0, body.indexOf(`\n  "${field}": `) + 1));
}

const HEADER = /^ibackup-([a-z]+) (0|[1-9]\d{0,8}) ([0-9a-f]{64})$/;
/** Longest header line: a kind of 32 letters, a version of 9 digits, a digest. */
const HEADER_BYTES_MAX = 128;
const NEWLINE = 0x0a;

export function encodeDocument(kind: DocumentKind, value: unknown, sha256: Sha256Hex): Uint8Array {
  const encoder = new TextEncoder();
  const body = encoder.encode(`${JSON.stringify(value, null, 2)}\n`);
  const header = encoder.encode(`ibackup-${kind.name} ${kind.version} ${sha256(body)}\n`);
  const bytes = new Uint8Array(header.length + body.length);
  bytes.set(header);
  bytes.set(body, header.length);
  return bytes;
}

/**
 * @param object The key, for messages.
 * @returns The JSON value, not yet held against any schema.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeDocument(
  kind: DocumentKind,
  stored: { object: string; bytes: Uint8Array },
  sha256: Sha256Hex,
): unknown {
  const { object, bytes } = stored;
  const headerEnd = bytes.subarray(0, HEADER_BYTES_MAX).indexOf(NEWLINE);
  if (headerEnd < 0) throw corruptObject(object, "it does not begin with a header line");
  const [, name, version, digest] = HEADER.exec(decodeText(object, bytes, headerEnd)) ?? [];
  if (name === undefined) throw corruptObject(object, "its first line is no ibackup header");
  if (name !== kind.name) {
    throw corruptObject(object, `it is a document of kind "${name}", not "${kind.name}"`);
  }
  if (Number(version) > kind.version) throw newerFormat(object, Number(version), kind.version);
  if (Number(version) < 1) throw corruptObject(object, `its format version is ${version}`);
  const body = bytes.subarray(headerEnd + 1);
  const found = sha256(body);
  if (found !== digest) {
    throw corruptObject(object, `the SHA-256 of its body is ${found}, its header says ${digest}`);
  }
  return parseJson(object, body);
}

/** @throws IbackupError CORRUPT_DATA when it is no JSON in UTF-8. */
export function parseJson(object: string, body: Uint8Array): unknown {
  try {
    return JSON.parse(decodeText(object, body, body.length));
  } catch (error) {
    throw corruptObject(object, `its body is no JSON: ${messageOf(error)}`, error);
  }
}

function decodeText(object: string, bytes: Uint8Array, length: number): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, length));
  } catch (error) {
    throw corruptObject(object, "it is no UTF-8 text", error);
  }
}
