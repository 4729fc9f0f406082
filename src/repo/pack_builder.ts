import { ByteWriter } from "../core/bytes.ts";
import type { BlockExtent } from "../core/extent.ts";
import { encodePackHeader, encodePackTrailer, PACK_TRAILER_BYTES } from "../core/pack.ts";
import {
  encodeRecord,
  FRAME_DIGEST_BYTES,
  type FrameCodec,
  type FramePlace,
} from "../core/records.ts";
import { SEAL_TAG_BYTES, type SealKey } from "../core/seal.ts";
import { release } from "../runtime/memory.ts";
import { sealPart } from "./cipher.ts";
import type { ObjectSeal } from "./sealer.ts";
import { sha256, sha256Hex } from "./sha256.ts";

/** Most bytes that the record of a frame takes, whatever its extents. */
const RECORD_BYTES_MAX = 1024;

/** A frame as it will be stored, or sealed. */
export interface PackedFrame {
  codec: FrameCodec;
  bytes: Uint8Array;
  /** What was packed; lent. */
  raw: Uint8Array;
  /** Of the bytes. Undefined: they are still to be sealed, and the digest is of what comes of that. */
  digest: Uint8Array | undefined;
  extents: BlockExtent[];
}

/** Fills one pack: header, frames, and at the end the section of records and the trailer. */
export class PackBuilder {
  readonly buffer: Uint8Array;
  readonly #seal: ObjectSeal;
  readonly #section = new ByteWriter();
  #length: number;
  #recordCount = 0;
  #extentCount = 0;

  /** @param buffer `PACK_BYTES_MAX` long. */
  constructor(buffer: Uint8Array, seal: ObjectSeal) {
    this.buffer = buffer;
    this.#seal = seal;
    const header = encodePackHeader(seal.header);
    buffer.set(header);
    this.#length = header.length;
  }

  /** Undefined where nothing is sealed. */
  get key(): SealKey | undefined {
    return this.#seal.key;
  }

  /** @param frameBytes Before it is sealed. */
  hasRoomFor(frameBytes: number): boolean {
    const tail = this.#section.length + RECORD_BYTES_MAX + PACK_TRAILER_BYTES;
    return this.#length + frameBytes + 2 * SEAL_TAG_BYTES + tail <= this.buffer.length;
  }

  /** Copies a frame in, sealed, and releases what was compressed. There is room for it. Calls do not overlap. */
  async append({ codec, bytes, raw, digest, extents }: PackedFrame): Promise<FramePlace> {
    const stored = await this.#sealed(bytes);
    const place = {
      codec,
      pack: 0,
      offset: this.#length,
      storedBytes: stored.length,
      digest: digest ?? (await sha256(stored)).subarray(0, FRAME_DIGEST_BYTES),
    };
    encodeRecord(this.#section, place, extents);
    this.buffer.set(stored, this.#length);
    if (stored !== bytes) release(stored);
    if (bytes !== raw) release(bytes);
    this.#length += place.storedBytes;
    this.#recordCount += 1;
    this.#extentCount += extents.length;
    return place;
  }

  /** @returns The whole pack, in the buffer. */
  async close(blockBytes: number): Promise<Uint8Array> {
    const section = await this.#sealed(this.#section.view());
    const counts = { recordCount: this.#recordCount, extentCount: this.#extentCount, blockBytes };
    const trailer = encodePackTrailer(counts, section, sha256Hex);
    this.buffer.set(section, this.#length);
    this.buffer.set(trailer, this.#length + section.length);
    return this.buffer.subarray(0, this.#length + section.length + trailer.length);
  }

  /** Sealed for the place where it will stand: the end of what is there. */
  async #sealed(bytes: Uint8Array): Promise<Uint8Array> {
    const { key } = this.#seal;
    return key ? await sealPart(key, { place: this.#length, bytes }) : bytes;
  }
}
