/** Takes over what a backup that broke off has stored, instead of sending it again. */
import { Buffer } from "node:buffer";
import type { BlockExtent } from "../core/extent.ts";
import { packKey } from "../core/pack.ts";
import { FRAME_DIGEST_BYTES, type FramePlace } from "../core/records.ts";
import { SEAL_TAG_BYTES, type SealKey } from "../core/seal.ts";
import { release } from "../runtime/memory.ts";
import type { Store } from "../store/store.ts";
import { sealPart } from "./cipher.ts";
import type { PackedFrame } from "./pack_builder.ts";
import { sha256 } from "./sha256.ts";

export interface StoredFrame {
  place: FramePlace;
  extents: readonly BlockExtent[];
}

/** A pack that is in the store, and what is in it. */
export interface StoredPack {
  name: string;
  sizeBytes: number;
  key: SealKey | undefined;
  frames: readonly StoredFrame[];
}

/** Remembers the packs that were stored for a disk since its last backup. */
export interface PackJournal {
  /** Whether a stored frame begins with that block. */
  begins(block: number): boolean;
  /** The pack with the frame that begins with that block. */
  find(firstBlock: number): StoredPack | undefined;
  /** Never fails: a pack that is not remembered is sent again. */
  add(pack: StoredPack): void;
}

export interface StoredPlace {
  pack: StoredPack;
  place: FramePlace;
}

/** Finds frames among the stored ones. */
export class FrameFinder {
  readonly #store: Store;
  readonly #journal: PackJournal;
  readonly #isThere = new Map<string, Promise<boolean>>();

  constructor(store: Store, journal: PackJournal) {
    this.#store = store;
    this.#journal = journal;
  }

  /**
   * Where the very bytes that would be stored for these blocks are already. With the key of that pack
   * and for that place, the same content gives the same bytes: so their digest proves it. What was
   * sealed for that leaves memory only when it is what lies there.
   */
  async find(frame: PackedFrame): Promise<StoredPlace | undefined> {
    const pack = this.#journal.find(frame.extents[0]?.firstBlock ?? 0);
    const place = pack?.frames.find(({ extents }) => areEqual(extents, frame.extents))?.place;
    if (pack === undefined || place?.codec !== frame.codec) return undefined;
    const sealBytes = pack.key ? SEAL_TAG_BYTES : 0;
    if (place.storedBytes !== frame.bytes.length + sealBytes) return undefined;
    const digest = await digestThere(frame, { pack, place });
    if (Buffer.compare(digest, place.digest) !== 0) return undefined;
    return (await this.#isStored(pack)) ? { pack, place } : undefined;
  }

  #isStored({ name, sizeBytes }: StoredPack): Promise<boolean> {
    const known = this.#isThere.get(name);
    if (known !== undefined) return known;
    const asked = this.#store.head(packKey(name)).then((found) => found === sizeBytes);
    this.#isThere.set(name, asked);
    return asked;
  }
}

async function digestThere(frame: PackedFrame, { pack, place }: StoredPlace): Promise<Uint8Array> {
  if (pack.key === undefined) {
    return frame.digest ?? (await sha256(frame.bytes)).subarray(0, FRAME_DIGEST_BYTES);
  }
  const sealed = await sealPart(pack.key, { place: place.offset, bytes: frame.bytes });
  const digest = await sha256(sealed);
  release(sealed);
  return digest.subarray(0, FRAME_DIGEST_BYTES);
}

function areEqual(left: readonly BlockExtent[], right: readonly BlockExtent[]): boolean {
  return (
    left.length === right.length &&
    left.every(
      ({ firstBlock, blockCount }, index) =>
        firstBlock === right[index]?.firstBlock && blockCount === right[index]?.blockCount,
    )
  );
}
