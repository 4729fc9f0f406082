import { assert } from "../errors.ts";
import { ByteReader, ByteWriter } from "./bytes.ts";
import { newerFormat } from "./corrupt.ts";
import { fromHex, toHex } from "./hex.ts";
import {
  BLOCK_BYTES_MAX,
  BLOCK_BYTES_MIN,
  INDEX_BYTES_MAX,
  INDEX_RECORDS_MAX,
  PACK_BYTES_MAX,
} from "./limits.ts";
import { PACK_HEADER_BYTES, PACK_TRAILER_BYTES } from "./pack.ts";
import {
  at,
  decodeRecords,
  frameBlocks,
  RECORD_KIND,
  type RecordCounts,
  type Records,
} from "./records.ts";

const MAGIC = "IBINDX";
const VERSION = 1;
const DIGEST_BYTES = 32;

/** Bytes before the packed body. */
export const INDEX_HEADER_BYTES = 32;

/** A pack that an index object refers to. */
export interface PackRef {
  /** SHA-256 of the pack, 64 hexadecimal digits. */
  name: string;
  sizeBytes: number;
}

/** The readable beginning of an index object; `packedBody` is zstd. */
export interface IndexHeader extends RecordCounts {
  blockBytes: number;
  packCount: number;
  /** Of the body, unpacked. */
  bodyBytes: number;
}

/** An index object, decoded. */
export interface DecodedIndex {
  /** Its key, for messages. */
  object: string;
  packs: PackRef[];
  records: Records;
}

/** The key of an index object. */
export function indexKey(name: string): string {
  return `indexes/${name}`;
}

/** The body of an index object, to be packed: its table of packs, then its records. */
export function encodeIndexBody(packs: readonly PackRef[], records: Uint8Array): Uint8Array {
  const writer = new ByteWriter(packs.length * (DIGEST_BYTES + 4) + records.length);
  for (const { name, sizeBytes } of packs) {
    writer.bytes(fromHex(name));
    writer.u32(sizeBytes);
  }
  writer.bytes(records);
  return writer.view();
}

export function encodeIndex(header: IndexHeader, packedBody: Uint8Array): Uint8Array {
  assert(header.bodyBytes <= INDEX_BYTES_MAX, "an index object keeps to its limit");
  const writer = new ByteWriter(INDEX_HEADER_BYTES + packedBody.length);
  writer.bytes(new TextEncoder().encode(MAGIC));
  writer.u16(VERSION);
  writer.u32(header.blockBytes);
  writer.u32(header.packCount);
  writer.u32(header.recordCount);
  writer.u32(header.extentCount);
  writer.u32(header.bodyBytes);
  writer.u32(0);
  writer.bytes(packedBody);
  return writer.view();
}

/** @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version. */
export function decodeIndexHeader(object: string, bytes: Uint8Array): IndexHeader {
  const reader = new ByteReader(object, bytes);
  if (new TextDecoder().decode(reader.bytes(MAGIC.length)) !== MAGIC) {
    throw reader.damaged("it does not begin like an index object");
  }
  const version = reader.u16();
  if (version > VERSION) throw newerFormat(object, version, VERSION);
  if (version < VERSION) throw reader.damaged(`its format version is ${version}`);
  const header = {
    blockBytes: reader.u32(),
    packCount: reader.u32(),
    recordCount: reader.u32(),
    extentCount: reader.u32(),
    bodyBytes: reader.u32(),
  };
  const reserved = reader.u32();
  const { blockBytes, packCount, bodyBytes } = header;
  if (blockBytes < BLOCK_BYTES_MIN || blockBytes > BLOCK_BYTES_MAX || reserved !== 0) {
    throw reader.damaged(`its header claims blocks of ${blockBytes} bytes, and ${reserved}`);
  }
  if (packCount > INDEX_RECORDS_MAX || bodyBytes > INDEX_BYTES_MAX) {
    throw reader.damaged(`its header claims ${packCount} packs and ${bodyBytes} bytes`);
  }
  return header;
}

/**
 * @param stored `body`: unpacked, `header.bodyBytes` long. `blockCount`: of the backup's disk.
 * @throws IbackupError CORRUPT_DATA.
 */
export function decodeIndexBody(
  object: string,
  header: IndexHeader,
  { body, blockCount }: { body: Uint8Array; blockCount: number },
): DecodedIndex {
  const reader = new ByteReader(object, body);
  if (body.length !== header.bodyBytes) {
    throw reader.damaged(`its body has ${body.length} bytes, its header says ${header.bodyBytes}`);
  }
  const packs = Array.from({ length: header.packCount }, () => decodePackRef(reader));
  const records = decodeRecords(reader, header, blockCount);
  reader.expectEnd();
  for (let record = 0; record < records.count; record++) {
    if (at(records.kinds, record) === RECORD_KIND.zero) continue;
    const why = misplacement(records, record, { packs, blockBytes: header.blockBytes });
    if (why) throw reader.damaged(`record ${record} ${why}`);
  }
  return { object, packs, records };
}

function decodePackRef(reader: ByteReader): PackRef {
  const name = toHex(reader.bytes(DIGEST_BYTES));
  const sizeBytes = reader.u32();
  if (sizeBytes > PACK_BYTES_MAX) throw reader.damaged(`its pack ${name} has ${sizeBytes} bytes`);
  return { name, sizeBytes };
}

function misplacement(
  records: Records,
  record: number,
  { packs, blockBytes }: { packs: readonly PackRef[]; blockBytes: number },
): string | undefined {
  const pack = packs[at(records.packs, record)];
  if (!pack) return `is in pack ${records.packs[record]} of ${packs.length}`;
  const offset = at(records.offsets, record);
  const end = offset + at(records.storedBytes, record);
  if (offset < PACK_HEADER_BYTES || end > pack.sizeBytes - PACK_TRAILER_BYTES) {
    return `is at bytes ${offset} to ${end} of a pack of ${pack.sizeBytes}`;
  }
  const rawBytes = frameBlocks(records, record) * blockBytes;
  const isRaw = records.kinds[record] === RECORD_KIND.raw;
  if (isRaw ? end - offset !== rawBytes : end - offset >= rawBytes) {
    return `stores ${rawBytes} bytes in ${end - offset}`;
  }
  return undefined;
}

/** Memory of a decoded index object, roughly, in bytes. */
export function memoryOf({ packs, records }: DecodedIndex): number {
  const perObject = 2048;
  return perObject + packs.length * 200 + records.count * 33 + records.firstBlocks.length * 8;
}
