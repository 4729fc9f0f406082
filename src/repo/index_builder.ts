import { ByteWriter } from "../core/bytes.ts";
import type { BlockExtent } from "../core/extent.ts";
import { encodeIndexBody, encodeIndexHeader, type PackRef } from "../core/index_codec.ts";
import { INDEX_EXTENTS_MAX, INDEX_RECORDS_MAX } from "../core/limits.ts";
import { encodeRecord, type FramePlace } from "../core/records.ts";
import { compress } from "../runtime/compression.ts";
import { sealPart } from "./cipher.ts";
import type { ObjectSeal } from "./sealer.ts";
import { sha256HexOfLarge } from "./sha256.ts";

const ZSTD_LEVEL = 3;

/** An index object and what the manifest says of it. */
export interface BuiltIndex {
  name: string;
  bytes: Uint8Array;
  firstBlock: number;
  blockCount: number;
  frameCount: number;
}

/** Gathers the records of one index object. */
export class IndexBuilder {
  readonly #records = new ByteWriter();
  readonly #packs: Promise<PackRef>[] = [];
  #recordCount = 0;
  #frameCount = 0;
  #extentCount = 0;
  #firstBlock = Number.POSITIVE_INFINITY;
  #endBlock = 0;

  get isEmpty(): boolean {
    return this.#recordCount === 0;
  }

  hasRoomFor(extentCount: number): boolean {
    return (
      this.#recordCount < INDEX_RECORDS_MAX && this.#extentCount + extentCount <= INDEX_EXTENTS_MAX
    );
  }

  /** Adds a pack to the table; its name may be known later. @returns Its number. */
  addPack(pack: Promise<PackRef>): number {
    // Whoever closes this index learns of a failure; until then it is not unhandled.
    pack.catch(() => undefined);
    return this.#packs.push(pack) - 1;
  }

  /** @param place Undefined for a zero record. */
  add(place: FramePlace | undefined, extents: readonly BlockExtent[]): void {
    encodeRecord(this.#records, place, extents);
    this.#recordCount += 1;
    this.#extentCount += extents.length;
    if (place) this.#frameCount += 1;
    const [first] = extents;
    const last = extents.at(-1);
    if (!first || !last) return;
    this.#firstBlock = Math.min(this.#firstBlock, first.firstBlock);
    this.#endBlock = Math.max(this.#endBlock, last.firstBlock + last.blockCount);
  }

  async close(blockBytes: number, seal: ObjectSeal): Promise<BuiltIndex> {
    const packs = await Promise.all(this.#packs);
    const unpacked = encodeIndexBody(packs, this.#records.view());
    const header = encodeIndexHeader({
      blockBytes,
      packs,
      recordCount: this.#recordCount,
      extentCount: this.#extentCount,
      bodyBytes: unpacked.length,
      seal: seal.header,
    });
    const body = await compress(unpacked, ZSTD_LEVEL);
    const stored = seal.key
      ? await sealPart(seal.key, { place: 0, publicPart: header, bytes: body })
      : body;
    wipe(seal, packs, unpacked);
    const bytes = new Uint8Array(header.length + stored.length);
    bytes.set(header);
    bytes.set(stored, header.length);
    return {
      name: await sha256HexOfLarge(bytes),
      bytes,
      firstBlock: this.#firstBlock,
      blockCount: this.#endBlock - this.#firstBlock,
      frameCount: this.#frameCount,
    };
  }
}

/** Forgets the keys: the packs are stored, and nobody opens them here. */
function wipe({ key }: ObjectSeal, packs: readonly PackRef[], unpacked: Uint8Array): void {
  if (key === undefined) return;
  for (const one of [key, ...packs.map((pack) => pack.key)]) one?.key.fill(0);
  unpacked.fill(0);
}
