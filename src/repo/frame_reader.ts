import type { BlockExtent } from "../core/extent.ts";
import { packKey } from "../core/pack.ts";
import { FRAME_DIGEST_BYTES, type FramePlace, RECORD_KIND } from "../core/records.ts";
import type { PlannedFrame, PlannedRequest, WantedRun } from "../core/restore_plan.ts";
import { messageOf } from "../errors.ts";
import { decompress } from "../runtime/compression.ts";
import { noteDiscarded } from "../runtime/memory.ts";
import type { Store } from "../store/store.ts";
import type { Damage } from "./damage.ts";
import { sha256 } from "./sha256.ts";

/** A frame as it came from the store, not yet looked at; undefined bytes: it did not come. */
export interface FetchedFrame {
  object: string;
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
  const bytes = await store.getRange(object, { offset, length });
  return request.frames.map((frame) => {
    const start = frame.place.offset - offset;
    const end = start + frame.place.storedBytes;
    if (bytes !== undefined && bytes.length >= end) {
      return { object, frame, stored: bytes.subarray(start, end), reason: "" };
    }
    const reason = bytes ? `it ends early, at byte ${offset + bytes.length}` : "it is missing";
    return { object, frame, stored: undefined, reason };
  });
}

/** Checks a frame's digest, then decompresses it, then checks its length. */
export async function decodeFrame(
  { object, frame, stored, reason }: FetchedFrame,
  blockBytes: number,
): Promise<DecodedFrame> {
  const unpacked = stored
    ? await unpackFrame(stored, frame.place, frame.frameBlocks * blockBytes)
    : reason;
  if (typeof unpacked !== "string") {
    return { kind: "blocks", wanted: frame.wanted, raw: unpacked };
  }
  return { kind: "damage", damage: { object, reason: unpacked, extents: plainExtents(frame) } };
}

/** @returns The raw bytes of a frame, or what is wrong with it. */
export async function unpackFrame(
  stored: Uint8Array,
  place: FramePlace,
  rawBytes: number,
): Promise<Uint8Array | string> {
  const where = `its frame at byte ${place.offset}`;
  const digest = (await sha256(stored)).subarray(0, FRAME_DIGEST_BYTES);
  if (!digest.every((byte, index) => byte === place.digest[index])) {
    return `${where} does not have the digest that the index says`;
  }
  const raw = place.codec === RECORD_KIND.raw ? stored : await unzip(stored, rawBytes);
  if (typeof raw === "string") return `${where} cannot be decompressed: ${raw}`;
  noteDiscarded(stored.length + raw.length);
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
