import type { BlockExtent } from "../core/extent.ts";
import { packKey } from "../core/pack.ts";
import { FRAME_DIGEST_BYTES, type FramePlace, RECORD_KIND } from "../core/records.ts";
import type { PlannedFrame, PlannedRequest, WantedRun } from "../core/restore_plan.ts";
import type { SealKey } from "../core/seal.ts";
import { messageOf } from "../errors.ts";
import { decompress } from "../runtime/compression.ts";
import { noteDiscarded } from "../runtime/memory.ts";
import type { Store } from "../store/store.ts";
import { openPart } from "./cipher.ts";
import type { Damage } from "./damage.ts";
import { sha256 } from "./sha256.ts";

/** A frame as it came from the store, not yet looked at; undefined bytes: it did not come. */
export interface FetchedFrame {
  object: string;
  /** Of its pack. */
  key: SealKey | undefined;
  frame: PlannedFrame;
  stored: Uint8Array | undefined;
  /** Why there are no bytes. */
  reason: string;
}

/** A frame's wanted blocks, or why they cannot be had. */
export type DecodedFrame =
  | { kind: "blocks"; wanted: WantedRun[]; raw: Uint8Array }
  | { kind: "damage"; damage: Damage };

/** Fetches the frames of one ranged read. @throws What the store throws. */
export async function fetchFrames(store: Store, request: PlannedRequest): Promise<FetchedFrame[]> {
  const object = packKey(request.pack.name);
  const { offset, length } = request;
  const { key } = request.pack;
  const bytes = await store.getRange(object, { offset, length });
  return request.frames.map((frame) => {
    const start = frame.place.offset - offset;
    const end = start + frame.place.storedBytes;
    if (bytes !== undefined && bytes.length >= end) {
      return { object, key, frame, stored: bytes.subarray(start, end), reason: "" };
    }
    const reason = bytes ? `it ends early, at byte ${offset + bytes.length}` : "it is missing";
    return { object, key, frame, stored: undefined, reason };
  });
}

export async function decodeFrame(
  { object, key, frame, stored, reason }: FetchedFrame,
  blockBytes: number,
): Promise<DecodedFrame> {
  const unpacked = stored
    ? await unpackFrame(stored, frame.place, { key, rawBytes: frame.frameBlocks * blockBytes })
    : reason;
  if (typeof unpacked !== "string") {
    noteDiscarded((stored?.length ?? 0) + unpacked.length);
    return { kind: "blocks", wanted: frame.wanted, raw: unpacked };
  }
  return { kind: "damage", damage: { object, reason: unpacked, extents: plainExtents(frame) } };
}

/**
 * Checks the digest of a frame, opens it, decompresses it and checks its length.
 *
 * @returns The raw bytes, or what is wrong with the frame.
 */
export async function unpackFrame(
  stored: Uint8Array,
  place: FramePlace,
  { key, rawBytes }: { key: SealKey | undefined; rawBytes: number },
): Promise<Uint8Array | string> {
  const where = `its frame at byte ${place.offset}`;
  const digest = (await sha256(stored)).subarray(0, FRAME_DIGEST_BYTES);
  if (!digest.every((byte, index) => byte === place.digest[index])) {
    return `${where} does not have the digest that the index says`;
  }
  const opened = key ? await openPart(key, { place: place.offset, bytes: stored }) : stored;
  if (opened === undefined) return `${where} cannot be opened: it was sealed otherwise`;
  const raw = place.codec === RECORD_KIND.raw ? opened : await unzip(opened, rawBytes);
  if (typeof raw === "string") return `${where} cannot be decompressed: ${raw}`;
  if (raw.length !== rawBytes) return `${where} holds ${raw.length} bytes instead of ${rawBytes}`;
  return raw;
}

async function unzip(stored: Uint8Array, rawBytes: number): Promise<Uint8Array | string> {
  try {
    return await decompress(stored, rawBytes);
  } catch (error) {
    return messageOf(error);
  }
}

function plainExtents(frame: PlannedFrame): BlockExtent[] {
  return frame.wanted.map(({ firstBlock, blockCount }) => ({ firstBlock, blockCount }));
}
