import { assert } from "../errors.ts";
import type { ByteReader, ByteWriter } from "./bytes.ts";
import type { BlockExtent } from "./extent.ts";
import { FRAME_BLOCKS_MAX, INDEX_EXTENTS_MAX, INDEX_RECORDS_MAX, WINDOW_BLOCKS } from "./limits.ts";

/** What a record says of its blocks. The numbers are those in the format. */
export const RECORD_KIND = { zero: 0, raw: 1, zstd: 2 } as const;

/** How the bytes of a data frame are stored. */
export type FrameCodec = typeof RECORD_KIND.raw | typeof RECORD_KIND.zstd;

/** Bytes of a frame's digest: the first half of the SHA-256 of its stored bytes. */
export const FRAME_DIGEST_BYTES = 16;

/** Where a data frame is stored, and as what. */
export interface FramePlace {
  codec: FrameCodec;
  /** Number of the pack in the table of the index object; 0 in a pack's own section. */
  pack: number;
  offset: number;
  storedBytes: number;
  /** `FRAME_DIGEST_BYTES` long. */
  digest: Uint8Array;
}

/**
 * Records of an index object or a pack, in order, as columns: millions of records must not become
 * millions of objects. Extents of record r are `extentStarts[r]` up to `extentStarts[r + 1]`.
 */
export interface Records {
  count: number;
  kinds: Uint8Array;
  packs: Uint32Array;
  offsets: Uint32Array;
  storedBytes: Uint32Array;
  digests: Uint8Array;
  extentStarts: Uint32Array;
  firstBlocks: Uint32Array;
  blockCounts: Uint32Array;
}

/** The numbers that a header gives ahead of the records. */
export interface RecordCounts {
  recordCount: number;
  extentCount: number;
}

/**
 * Appends a record.
 *
 * @param place Undefined for a zero record.
 * @param extents Ascending, no two overlapping or touching. A data frame's lie in one window.
 */
export function encodeRecord(
  writer: ByteWriter,
  place: FramePlace | undefined,
  extents: readonly BlockExtent[],
): void {
  assert(extents.length > 0, "a record has an extent");
  writer.u8(place?.codec ?? RECORD_KIND.zero);
  if (place) {
    assert(isFrame(extents), "a frame has up to 64 blocks of one window");
    assert(place.digest.length === FRAME_DIGEST_BYTES, "a frame digest has 16 bytes");
    writer.varint(place.pack);
    writer.varint(place.offset);
    writer.varint(place.storedBytes);
    writer.bytes(place.digest);
  }
  writer.varint(extents.length);
  let end = -1;
  for (const { firstBlock, blockCount } of extents) {
    assert(firstBlock > end && blockCount > 0, "extents ascend and do not touch");
    // Distance from the end of the extent before; the first one's number plus 1, in effect.
    writer.varint(firstBlock - end);
    writer.varint(blockCount);
    end = firstBlock + blockCount;
  }
}

function isFrame(extents: readonly BlockExtent[]): boolean {
  const blocks = extents.reduce((sum, { blockCount }) => sum + blockCount, 0);
  const first = extents[0]?.firstBlock ?? 0;
  const last = extents.at(-1) ?? { firstBlock: 0, blockCount: 1 };
  const lastBlock = last.firstBlock + last.blockCount - 1;
  return blocks <= FRAME_BLOCKS_MAX && windowOf(first) === windowOf(lastBlock);
}

export function windowOf(block: number): number {
  return Math.floor(block / WINDOW_BLOCKS);
}

/**
 * Reads the records, each number checked.
 *
 * @param blockCount Of the disk: every extent has to lie below it.
 * @throws IbackupError CORRUPT_DATA.
 */
export function decodeRecords(
  reader: ByteReader,
  { recordCount, extentCount }: RecordCounts,
  blockCount: number,
): Records {
  if (recordCount > INDEX_RECORDS_MAX) throw reader.damaged(`it claims ${recordCount} records`);
  if (extentCount > INDEX_EXTENTS_MAX) throw reader.damaged(`it claims ${extentCount} extents`);
  const records: Records = {
    count: recordCount,
    kinds: new Uint8Array(recordCount),
    packs: new Uint32Array(recordCount),
    offsets: new Uint32Array(recordCount),
    storedBytes: new Uint32Array(recordCount),
    digests: new Uint8Array(recordCount * FRAME_DIGEST_BYTES),
    extentStarts: new Uint32Array(recordCount + 1),
    firstBlocks: new Uint32Array(extentCount),
    blockCounts: new Uint32Array(extentCount),
  };
  for (let record = 0; record < recordCount; record++) {
    const kind = reader.u8();
    if (kind > RECORD_KIND.zstd) throw reader.damaged(`record ${record} is of kind ${kind}`);
    records.kinds[record] = kind;
    if (kind !== RECORD_KIND.zero) decodePlace(reader, records, record);
    decodeExtents(reader, records, { record, blockCount });
    if (kind !== RECORD_KIND.zero) checkFrame(reader, records, record);
  }
  const found = records.extentStarts[recordCount];
  if (found !== extentCount) {
    throw reader.damaged(`it has ${found} extents and its header says ${extentCount}`);
  }
  return records;
}

function decodePlace(reader: ByteReader, records: Records, record: number): void {
  const pack = reader.varint();
  const offset = reader.varint();
  const storedBytes = reader.varint();
  if (Math.max(pack, offset, storedBytes) >= 2 ** 32 || storedBytes === 0) {
    throw reader.damaged(
      `record ${record} is at pack ${pack}, offset ${offset}, size ${storedBytes}`,
    );
  }
  records.packs[record] = pack;
  records.offsets[record] = offset;
  records.storedBytes[record] = storedBytes;
  records.digests.set(reader.bytes(FRAME_DIGEST_BYTES), record * FRAME_DIGEST_BYTES);
}

function decodeExtents(
  reader: ByteReader,
  records: Records,
  { record, blockCount }: { record: number; blockCount: number },
): void {
  const start = at(records.extentStarts, record);
  const count = reader.varint();
  const room = records.firstBlocks.length - start;
  if (count === 0 || count > room) {
    throw reader.damaged(`record ${record} claims ${count} extents`);
  }
  let end = -1;
  for (let extent = start; extent < start + count; extent++) {
    const gap = reader.varint();
    const blocks = reader.varint();
    const first = end + gap;
    end = first + blocks;
    if (gap === 0 || blocks === 0 || end > blockCount) {
      throw reader.damaged(
        `record ${record} speaks of ${blocks} blocks from ${first}, on ${blockCount}`,
      );
    }
    records.firstBlocks[extent] = first;
    records.blockCounts[extent] = blocks;
  }
  records.extentStarts[record + 1] = start + count;
}

/** @throws IbackupError CORRUPT_DATA when a data frame is too large or crosses a window. */
function checkFrame(reader: ByteReader, records: Records, record: number): void {
  const last = at(records.extentStarts, record + 1) - 1;
  const first = at(records.firstBlocks, at(records.extentStarts, record));
  const end = at(records.firstBlocks, last) + at(records.blockCounts, last);
  if (frameBlocks(records, record) > FRAME_BLOCKS_MAX || windowOf(first) !== windowOf(end - 1)) {
    throw reader.damaged(`record ${record} is no frame: blocks ${first} to ${end - 1}`);
  }
}

/** How many blocks a record speaks of. */
export function frameBlocks(records: Records, record: number): number {
  let blocks = 0;
  const end = at(records.extentStarts, record + 1);
  for (let extent = at(records.extentStarts, record); extent < end; extent++) {
    blocks += at(records.blockCounts, extent);
  }
  return blocks;
}

/** The extents of a record. */
export function extentsOf(records: Records, record: number): BlockExtent[] {
  const extents: BlockExtent[] = [];
  const end = at(records.extentStarts, record + 1);
  for (let extent = at(records.extentStarts, record); extent < end; extent++) {
    extents.push({
      firstBlock: at(records.firstBlocks, extent),
      blockCount: at(records.blockCounts, extent),
    });
  }
  return extents;
}

/** Where the frame of a data record is. The digest is lent. */
export function placeOf(records: Records, record: number): FramePlace {
  const codec = at(records.kinds, record);
  assert(codec === RECORD_KIND.raw || codec === RECORD_KIND.zstd, "a data record has a place");
  const digestAt = record * FRAME_DIGEST_BYTES;
  return {
    codec,
    pack: at(records.packs, record),
    offset: at(records.offsets, record),
    storedBytes: at(records.storedBytes, record),
    digest: records.digests.subarray(digestAt, digestAt + FRAME_DIGEST_BYTES),
  };
}

/** An element that must be there. */
export function at(column: Uint8Array | Uint32Array, index: number): number {
  const value = column[index];
  assert(value !== undefined, "an index lies inside its column");
  return value;
}
