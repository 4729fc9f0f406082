import { ByteReader, ByteWriter } from "./bytes.ts";
import { corruptObject, newerFormat } from "./corrupt.ts";
import type { Sha256Hex } from "./document.ts";
import { fromHex, toHex } from "./hex.ts";
import { DISK_BLOCKS_MAX } from "./limits.ts";
import { at, decodeRecords, type RecordCounts, type Records } from "./records.ts";

const VERSION = 1;
const HEADER_MAGIC = "IBPACK";
const TRAILER_MAGIC = "IBTAIL";
const SECTION_DIGEST_BYTES = 16;

export const PACK_HEADER_BYTES = 8;
export const PACK_TRAILER_BYTES = 40;

/** The key of a pack. Two digits make folders, so that none has too many entries. */
export function packKey(name: string): string {
  return `packs/${name.slice(0, 2)}/${name}`;
}

/** What stands before the first frame. */
export function encodePackHeader(): Uint8Array {
  const writer = new ByteWriter(PACK_HEADER_BYTES);
  writer.bytes(new TextEncoder().encode(HEADER_MAGIC));
  writer.u16(VERSION);
  return writer.view();
}

/** What stands after the last frame and the section of records. */
export function encodePackTrailer(
  { recordCount, extentCount, blockBytes }: RecordCounts & { blockBytes: number },
  section: Uint8Array,
  sha256: Sha256Hex,
): Uint8Array {
  const writer = new ByteWriter(PACK_TRAILER_BYTES);
  writer.u32(section.length);
  writer.u32(recordCount);
  writer.u32(extentCount);
  writer.u32(blockBytes);
  const digest = sha256(section).slice(0, SECTION_DIGEST_BYTES * 2);
  writer.bytes(fromHex(digest));
  writer.bytes(new TextEncoder().encode(TRAILER_MAGIC));
  writer.u16(VERSION);
  return writer.view();
}

/**
 * The records at the end of a pack, found without any index object.
 *
 * @param bytes The whole pack. That its name fits its content is the caller's to check.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodePack(
  object: string,
  bytes: Uint8Array,
  sha256: Sha256Hex,
): { blockBytes: number; records: Records } {
  checkMagic(object, bytes.subarray(0, PACK_HEADER_BYTES), HEADER_MAGIC);
  const trailerAt = bytes.length - PACK_TRAILER_BYTES;
  if (trailerAt < PACK_HEADER_BYTES) {
    throw corruptObject(object, `it has only ${bytes.length} bytes`);
  }
  checkMagic(object, bytes.subarray(bytes.length - PACK_HEADER_BYTES), TRAILER_MAGIC);
  const trailer = new ByteReader(object, bytes.subarray(trailerAt));
  const sectionBytes = trailer.u32();
  const counts = { recordCount: trailer.u32(), extentCount: trailer.u32() };
  const blockBytes = trailer.u32();
  const digest = toHex(trailer.bytes(SECTION_DIGEST_BYTES));
  const sectionAt = trailerAt - sectionBytes;
  if (sectionAt < PACK_HEADER_BYTES) {
    throw corruptObject(object, `it claims ${sectionBytes} bytes of records`);
  }
  const section = bytes.subarray(sectionAt, trailerAt);
  if (!sha256(section).startsWith(digest)) {
    throw corruptObject(object, "its records do not fit their digest");
  }
  const reader = new ByteReader(object, section);
  const records = decodeRecords(reader, counts, DISK_BLOCKS_MAX);
  reader.expectEnd();
  checkLayout(object, records, sectionAt);
  return { blockBytes, records };
}

/** Frames stand back to back from the header to the section. */
function checkLayout(object: string, records: Records, sectionAt: number): void {
  let end = PACK_HEADER_BYTES;
  for (let record = 0; record < records.count; record++) {
    const isNext = at(records.offsets, record) === end && at(records.packs, record) === 0;
    if (!isNext) throw corruptObject(object, `its frame ${record} is not at byte ${end}`);
    end += at(records.storedBytes, record);
  }
  if (end !== sectionAt) {
    throw corruptObject(object, `its frames end at byte ${end}, its records begin at ${sectionAt}`);
  }
}

function checkMagic(object: string, bytes: Uint8Array, magic: string): void {
  const reader = new ByteReader(object, bytes);
  const found = new TextDecoder().decode(reader.bytes(magic.length));
  if (found !== magic) throw reader.damaged(`where "${magic}" should stand is something else`);
  const version = reader.u16();
  if (version > VERSION) throw newerFormat(object, version, VERSION);
  if (version < VERSION) throw reader.damaged(`its format version is ${version}`);
}
