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
import { PACK_HEADER_BYTES_MIN, PACK_TRAILER_BYTES } from "./pack.ts";
import {
  at,
  decodeRecords,
  frameBlocks,
  RECORD_KIND,
  type RecordCounts,
  type Records,
} from "./records.ts";
import {
  decodeSealHeader,
  encodeSealHeader,
  isSealed,
  SEAL_KEY_BYTES,
  SEAL_TAG_BYTES,
  type SealHeader,
  type SealKey,
} from "./seal.ts";

const MAGIC = "IBINDX";
const VERSION = 1;
const DIGEST_BYTES = 32;

/** A pack that an index object refers to. */
export interface PackRef {
  /** SHA-256 of the pack, 64 hexadecimal digits. */
  name: string;
  sizeBytes: number;
  /** Opens its frames. Undefined where nothing is sealed, and where only names are known. */
  key?: SealKey | undefined;
}

/** What of an index object can be read without a key. */
export interface IndexHeader extends RecordCounts {
  blockBytes: number;
  packs: readonly PackRef[];
  /** Of the body, unpacked and opened. */
  bodyBytes: number;
  seal: SealHeader;
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

/** The body of an index object, to be packed and sealed: the keys of its packs, then its records. */
export function encodeIndexBody(packs: readonly PackRef[], records: Uint8Array): Uint8Array {
  const writer = new ByteWriter(packs.length * SEAL_KEY_BYTES + records.length);
  for (const { key } of packs) if (key) writer.bytes(key.key);
  writer.bytes(records);
  return writer.view();
}

/** What stands before the body. */
export function encodeIndexHeader(header: IndexHeader): Uint8Array {
  assert(header.bodyBytes <= INDEX_BYTES_MAX, "an index object keeps to its limit");
  const writer = new ByteWriter();
  writer.bytes(new TextEncoder().encode(MAGIC));
  writer.u16(VERSION);
  writer.u32(header.blockBytes);
  writer.u32(header.packs.length);
  writer.u32(header.recordCount);
  writer.u32(header.extentCount);
  writer.u32(header.bodyBytes);
  encodeSealHeader(writer, header.seal);
  for (const { name, sizeBytes } of header.packs) {
    writer.bytes(fromHex(name));
    writer.u32(sizeBytes);
  }
  return writer.view();
}

/**
 * @returns `publicPart`: the bytes of the header; `body`: those after it, packed, and sealed where
 *   the header says so. Both lent.
 * @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version.
 */
export function decodeIndexHeader(
  object: string,
  bytes: Uint8Array,
): { header: IndexHeader; publicPart: Uint8Array; body: Uint8Array } {
  const reader = new ByteReader(object, bytes);
  if (new TextDecoder().decode(reader.bytes(MAGIC.length)) !== MAGIC) {
    throw reader.damaged("it does not begin like an index object");
  }
  const version = reader.u16();
  if (version > VERSION) throw newerFormat(object, version, VERSION);
  if (version < VERSION) throw reader.damaged(`its format version is ${version}`);
  const blockBytes = reader.u32();
  const packCount = reader.u32();
  const counts = { recordCount: reader.u32(), extentCount: reader.u32() };
  const bodyBytes = reader.u32();
  if (blockBytes < BLOCK_BYTES_MIN || blockBytes > BLOCK_BYTES_MAX) {
    throw reader.damaged(`its header claims blocks of ${blockBytes} bytes`);
  }
  if (packCount > INDEX_RECORDS_MAX || bodyBytes > INDEX_BYTES_MAX) {
    throw reader.damaged(`its header claims ${packCount} packs and ${bodyBytes} bytes`);
  }
  const seal = decodeSealHeader(reader);
  const packs = Array.from({ length: packCount }, () => decodePackRef(reader));
  return {
    header: { blockBytes, packs, ...counts, bodyBytes, seal },
    publicPart: bytes.subarray(0, reader.at),
    body: bytes.subarray(reader.at),
  };
}

/**
 * @param stored `body`: opened and unpacked, `header.bodyBytes` long. `blockCount`: of the backup's
 *   disk. `packContext`: what the seals of packs are bound to.
 * @throws IbackupError CORRUPT_DATA.
 */
export function decodeIndexBody(
  object: string,
  header: IndexHeader,
  stored: { body: Uint8Array; blockCount: number; packContext: Uint8Array },
): DecodedIndex {
  const { body, blockCount, packContext: context } = stored;
  const reader = new ByteReader(object, body);
  if (body.length !== header.bodyBytes) {
    throw reader.damaged(`its body has ${body.length} bytes, its header says ${header.bodyBytes}`);
  }
  const sealed = isSealed(header.seal);
  const packs = header.packs.map((pack) =>
    sealed
      ? { ...pack, key: { key: new Uint8Array(reader.bytes(SEAL_KEY_BYTES)), context } }
      : pack,
  );
  const records = decodeRecords(reader, header, blockCount);
  reader.expectEnd();
  const { blockBytes } = header;
  for (let record = 0; record < records.count; record++) {
    if (at(records.kinds, record) === RECORD_KIND.zero) continue;
    const why = misplacement(records, record, { packs, blockBytes });
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
  if (offset < PACK_HEADER_BYTES_MIN || end > pack.sizeBytes - PACK_TRAILER_BYTES) {
    return `is at bytes ${offset} to ${end} of a pack of ${pack.sizeBytes}`;
  }
  const rawBytes = frameBlocks(records, record) * blockBytes;
  const isRaw = records.kinds[record] === RECORD_KIND.raw;
  const contentBytes = end - offset - (pack.key ? SEAL_TAG_BYTES : 0);
  if (isRaw ? contentBytes !== rawBytes : contentBytes >= rawBytes || contentBytes < 1) {
    return `stores ${rawBytes} bytes in ${end - offset}`;
  }
  return undefined;
}

/** Memory of a decoded index object, roughly, in bytes. */
export function memoryOf({ packs, records }: DecodedIndex): number {
  const perObject = 2048;
  return perObject + packs.length * 200 + records.count * 33 + records.firstBlocks.length * 8;
}
