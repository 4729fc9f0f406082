import { ByteWriter } from "../core/bytes.ts";
import type { BlockExtent } from "../core/extent.ts";
import { encodePackHeader, encodePackTrailer, PACK_TRAILER_BYTES } from "../core/pack.ts";
import { encodeRecord, type FrameCodec, type FramePlace } from "../core/records.ts";
import { sha256Hex } from "./sha256.ts";

/** Most bytes that the record of a frame takes, whatever its extents. */
const RECORD_BYTES_MAX = 1024;

/** A frame as it will be stored. */
export interface StoredFrame {
  codec: FrameCodec;
  stored: Uint8Array;
  digest: Uint8Array;
  extents: BlockExtent[];
}

/** Fills one pack: header, frames, and at the end the section of records and the trailer. */
export class PackBuilder {
  readonly buffer: Uint8Array;
  readonly #section = new ByteWriter();
  #length: number;
  #recordCount = 0;
  #extentCount = 0;

  /** @param buffer `PACK_BYTES_MAX` long. */
  constructor(buffer: Uint8Array) {
    this.buffer = buffer;
    const header = encodePackHeader();
    buffer.set(header);
    this.#length = header.length;
  }

  hasRoomFor(storedBytes: number): boolean {
    const tail = this.#section.length + RECORD_BYTES_MAX + PACK_TRAILER_BYTES;
    return this.#length + storedBytes + tail <= this.buffer.length;
  }

  /** Copies a frame in. There is room for it. */
  append({ codec, stored, digest, extents }: StoredFrame): FramePlace {
    const place = { codec, pack: 0, offset: this.#length, storedBytes: stored.length, digest };
    encodeRecord(this.#section, place, extents);
    this.buffer.set(stored, this.#length);
    this.#length += stored.length;
    this.#recordCount += 1;
    this.#extentCount += extents.length;
    return place;
  }

  /** @returns The whole pack, in the buffer. */
  close(blockBytes: number): Uint8Array {
    const section = this.#section.view();
    const counts = { recordCount: this.#recordCount, extentCount: this.#extentCount, blockBytes };
    const trailer = encodePackTrailer(counts, section, sha256Hex);
    this.buffer.set(section, this.#length);
    this.buffer.set(trailer, this.#length + section.length);
    return this.buffer.subarray(0, this.#length + section.length + trailer.length);
  }
}
