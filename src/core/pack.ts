import { ByteReader, ByteWriter } from "./bytes.ts";
import { corruptObject, newerFormat } from "./corrupt.ts";
import type { Sha256Hex } from "./document.ts";
import { fromHex, toHex } from "./hex.ts";
import { DISK_BLOCKS_MAX } from "./limits.ts";
import { at, decodeRecords, type RecordCounts, type Records } from "./records.ts";
import {
  decodeSealHeader,
  encodeSealHeader,
  SEAL_HEADER_BYTES_MIN,
  type SealHeader,
} from "./seal.ts";

const VERSION = 1;
const HEADER_MAGIC = "IBPACK";
const TRAILER_MAGIC = "IBTAIL";
const SECTION_DIGEST_BYTES = 16;

const MAGIC_BYTES = 8;
export const PACK_HEADER_BYTES_MIN = MAGIC_BYTES + SEAL_HEADER_BYTES_MIN;
export const PACK_TRAILER_BYTES = 40;

/** The key of a pack. Two digits make folders, so that none has too many entries. */
export function packKey(name: string): string {
  return `packs/${name.slice(0, 2)}/${name}`;
}

/** What stands before the first frame. */
export function encodePackHeader(seal: SealHeader): Uint8Array {
  const writer = new ByteWriter(PACK_HEADER_BYTES_MIN);
  writer.bytes(new TextEncoder().encode(HEADER_MAGIC));
  writer.u16(VERSION);
  encodeSealHeader(writer, seal);
  return writer.view();
}

/**
 * What stands after the last frame and the section of records.
 *
 * @param section As it is stored.
 */
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

/** What of a pack can be read without a key. */
export interface PackFrame extends RecordCounts {
  seal: SealHeader;
  /** Where the first frame begins. */
  framesAt: number;
  /** Where the section of records begins. */
  sectionAt: number;
  /** The section as it is stored. Lent. */
  section: Uint8Array;
  blockBytes: number;
}

/**
 * What surrounds the frames of a pack; no index object is needed.
 *
 * @param bytes The whole pack. That its name fits its content is the caller's to check.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodePack(object: string, bytes: Uint8Array, sha256: Sha256Hex): PackFrame {
  const header = new ByteReader(object, bytes);
  checkMagic(object, header.bytes(MAGIC_BYTES), HEADER_MAGIC);
  const seal = decodeSealHeader(header);
  const framesAt = header.at;
  const trailerAt = bytes.length - PACK_TRAILER_BYTES;
  if (trailerAt < framesAt) throw corruptObject(object, `it has only ${bytes.length} bytes`);
  checkMagic(object, bytes.subarray(bytes.length - MAGIC_BYTES), TRAILER_MAGIC);
  const trailer = new ByteReader(object, bytes.subarray(trailerAt));
  const sectionBytes = trailer.u32();
  const counts = { recordCount: trailer.u32(), extentCount: trailer.u32() };
  const blockBytes = trailer.u32();
  const digest = toHex(trailer.bytes(SECTION_DIGEST_BYTES));
  const sectionAt = trailerAt - sectionBytes;
  if (sectionAt < framesAt) {
    throw corruptObject(object, `it claims ${sectionBytes} bytes of records`);
  }
  const section = bytes.subarray(sectionAt, trailerAt);
  if (!sha256(section).startsWith(digest)) {
    throw corruptObject(object, "its records do not fit their digest");
  }
  return { seal, framesAt, sectionAt, section, ...counts, blockBytes };
}

/**
 * @param section Opened.
 * @throws IbackupError CORRUPT_DATA; also when the frames do not stand back to back.
 */
export function decodePackRecords(object: string, pack: PackFrame, section: Uint8Array): Records {
  const reader = new ByteReader(object, section);
  const records = decodeRecords(reader, pack, DISK_BLOCKS_MAX);
  reader.expectEnd();
  let end = pack.framesAt;
  for (let record = 0; record < records.count; record++) {
    const isNext = at(records.offsets, record) === end && at(records.packs, record) === 0;
    if (!isNext) throw reader.damaged(`its frame ${record} is not at byte ${end}`);
    end += at(records.storedBytes, record);
  }
  if (end === pack.sectionAt) return records;
  throw reader.damaged(`its frames end at byte ${end}, its records begin at ${pack.sectionAt}`);
}

function checkMagic(object: string, bytes: Uint8Array, magic: string): void {
  const reader = new ByteReader(object, bytes);
  const found = new TextDecoder().decode(reader.bytes(magic.length));
  if (found !== magic) throw reader.damaged(`where "${magic}" should stand is something else`);
  const version = reader.u16();
  if (version > VERSION) throw newerFormat(object, version, VERSION);
  if (version < VERSION) throw reader.damaged(`its format version is ${version}`);
}
