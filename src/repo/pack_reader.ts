import { corruptObject } from "../core/corrupt.ts";
import { decodePack, decodePackRecords } from "../core/pack.ts";
import type { Records } from "../core/records.ts";
import { openPart } from "./cipher.ts";
import type { Opener } from "./opener.ts";
import { sha256Hex } from "./sha256.ts";

/**
 * The records at the end of a pack, found without any index object.
 *
 * @param bytes The whole pack. That its name fits its content is the caller's to check.
 * @throws IbackupError CORRUPT_DATA, REPOSITORY_FORMAT, or NO_KEY.
 */
export async function readPackRecords(
  opener: Opener,
  object: string,
  bytes: Uint8Array,
): Promise<Records> {
  const pack = decodePack(object, bytes, sha256Hex);
  const key = await opener.keyOf("pack", pack.seal);
  const part = { place: pack.sectionAt, bytes: pack.section };
  const section = key ? await openPart(key, part) : pack.section;
  if (section === undefined) throw corruptObject(object, "its records cannot be opened");
  return decodePackRecords(object, pack, section);
}
