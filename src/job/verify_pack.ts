import type { BlockExtent } from "../core/extent.ts";
import type { PackRef } from "../core/index_codec.ts";
import { PACK_BYTES_MAX } from "../core/limits.ts";
import type { Manifest, ManifestIndex } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { packKey } from "../core/pack.ts";
import { at, extentsOf, frameBlocks, placeOf, RECORD_KIND, type Records } from "../core/records.ts";
import { IbackupError } from "../errors.ts";
import type { Damage } from "../repo/damage.ts";
import { unpackFrame } from "../repo/frame_reader.ts";
import { readPackRecords } from "../repo/pack_reader.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256HexOfLarge } from "../repo/sha256.ts";
import { noteDiscarded } from "../runtime/memory.ts";

const FRAMES_IN_FLIGHT = 4;

/** A pack, and the index objects whose records lie in it. */
export interface PackUse {
  name: string;
  sizeBytes: number;
  /** `number`: of the pack, in the table of the index object. */
  users: { manifest: Manifest; index: ManifestIndex; number: number }[];
}

interface UsedFrame {
  records: Records;
  pack: PackRef;
  record: number;
  blockBytes: number;
}

/**
 * @param options `presentBytes`: size of the object in the store, undefined when it is not there.
 *   `data`: read it all.
 * @returns What is wrong with the pack, and the blocks that it takes away.
 * @throws What the store throws.
 */
export async function checkPack(
  repository: Repository,
  use: PackUse,
  options: { presentBytes: number | undefined; data: boolean },
): Promise<Damage | undefined> {
  const object = packKey(use.name);
  const { presentBytes, data } = options;
  if (presentBytes === undefined) {
    return { object, reason: "it is missing", extents: await extentsIn(repository, use) };
  }
  const wrongSize = `it has ${presentBytes} bytes, the index says ${use.sizeBytes}`;
  const hasRightSize = presentBytes === use.sizeBytes;
  if (!data) {
    if (hasRightSize) return undefined;
    return { object, reason: wrongSize, extents: await extentsIn(repository, use) };
  }
  if (presentBytes > PACK_BYTES_MAX) return { object, reason: wrongSize, extents: [] };
  const bytes = await repository.store.get(object, { maxBytes: PACK_BYTES_MAX });
  if (bytes === undefined) {
    return { object, reason: "it is missing", extents: await extentsIn(repository, use) };
  }
  const damage = await checkFrames(repository, use, bytes);
  const reason = hasRightSize ? await wrongContent(repository, use, bytes) : wrongSize;
  if (reason === undefined && damage.reasons.length === 0) return undefined;
  return {
    object,
    reason: [reason ?? [], ...damage.reasons].flat().join("; "),
    extents: damage.extents,
  };
}

/** Why the pack as a whole is not what it should be. */
async function wrongContent(
  { opener }: Repository,
  { name }: PackUse,
  bytes: Uint8Array,
): Promise<string | undefined> {
  const found = await sha256HexOfLarge(bytes);
  if (found !== name) return `its SHA-256 is ${found}`;
  try {
    await readPackRecords(opener, packKey(name), bytes);
    return undefined;
  } catch (error) {
    if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return error.why;
    throw error;
  }
}

/** Decodes every frame that an index object names. Only the first reason is kept. */
async function checkFrames(
  repository: Repository,
  use: PackUse,
  bytes: Uint8Array,
): Promise<{ reasons: string[]; extents: BlockExtent[] }> {
  const check = async (frame: UsedFrame) => {
    const { records, pack, record, blockBytes } = frame;
    const place = placeOf(records, record);
    const stored = bytes.subarray(place.offset, place.offset + place.storedBytes);
    const raw = await unpackFrame(stored, place, {
      key: pack.key,
      rawBytes: frameBlocks(records, record) * blockBytes,
    });
    if (typeof raw === "string") return { frame, reason: raw };
    noteDiscarded(stored.length + raw.length);
    return { frame, reason: undefined };
  };
  const reasons: string[] = [];
  const extents: BlockExtent[] = [];
  for await (const { frame, reason } of mapInOrder(
    framesIn(repository, use),
    FRAMES_IN_FLIGHT,
    check,
  )) {
    if (reason === undefined) continue;
    if (reasons.length === 0) reasons.push(reason);
    extents.push(...extentsOf(frame.records, frame.record));
  }
  return { reasons, extents: merged(extents) };
}

async function extentsIn(repository: Repository, use: PackUse): Promise<BlockExtent[]> {
  // Without an identity, no more can be told than what the index objects may speak of.
  if (!repository.canOpen) return merged(use.users.map(({ index }) => index));
  const extents: BlockExtent[] = [];
  for await (const { records, record } of framesIn(repository, use)) {
    extents.push(...extentsOf(records, record));
  }
  return merged(extents);
}

async function* framesIn(
  repository: Repository,
  { users }: PackUse,
): AsyncGenerator<UsedFrame, void, undefined> {
  for (const { manifest, index, number } of users) {
    const { records, packs } = await repository.indexes.read(manifest, index);
    const pack = packs[number];
    if (pack === undefined) continue;
    for (let record = 0; record < records.count; record++) {
      const isInPack =
        records.kinds[record] !== RECORD_KIND.zero && at(records.packs, record) === number;
      if (isInPack) yield { records, pack, record, blockBytes: manifest.blockBytes };
    }
  }
}

function merged(extents: readonly BlockExtent[]): BlockExtent[] {
  const result: BlockExtent[] = [];
  for (const { firstBlock, blockCount } of extents.toSorted(
    (a, b) => a.firstBlock - b.firstBlock,
  )) {
    const last = result.at(-1);
    const end = firstBlock + blockCount;
    if (last && firstBlock <= last.firstBlock + last.blockCount) {
      last.blockCount = Math.max(last.firstBlock + last.blockCount, end) - last.firstBlock;
    } else {
      result.push({ firstBlock, blockCount });
    }
  }
  return result;
}
