import { Buffer } from "node:buffer";
import type { FramePlace } from "../core/records.ts";
import type { SealKey } from "../core/seal.ts";
import { IbackupError } from "../errors.ts";
import { noteDiscarded, release } from "../runtime/memory.ts";
import { unpackFrame } from "./frame_reader.ts";

/**
 * Reads a frame as a restore would, before it leaves, and compares it with the blocks that it was
 * made of: what memory or a codec has spoilt must not be stored under a digest that fits.
 *
 * @param stored As it stands in its pack.
 * @throws IbackupError CORRUPT_DATA.
 */
export async function checkFrame(
  stored: Uint8Array,
  place: FramePlace,
  { key, raw }: { key: SealKey | undefined; raw: Uint8Array },
): Promise<void> {
  const unpacked = await unpackFrame(stored, place, { key, rawBytes: raw.length });
  const fault = typeof unpacked === "string" ? unpacked : undefined;
  if (typeof unpacked !== "string" && Buffer.compare(unpacked, raw) === 0) {
    // What was opened on the way lies about as well.
    if (key) noteDiscarded(stored.length);
    if (unpacked.buffer !== stored.buffer) release(unpacked);
    return;
  }
  throw new IbackupError("CORRUPT_DATA", "Cannot store what was read", {
    why: fault ?? "what was packed does not unpack to what was read",
    fix: "test the memory of this machine, then run the command again: nothing was committed",
  });
}
