import { corruptObject } from "../core/corrupt.ts";
import {
  type DecodedIndex,
  decodeIndexBody,
  decodeIndexHeader,
  indexKey,
  memoryOf,
  type PackRef,
} from "../core/index_codec.ts";
import { INDEX_BYTES_MAX } from "../core/limits.ts";
import type { Manifest, ManifestIndex } from "../core/manifest.ts";
import { isSealed } from "../core/seal.ts";
import { messageOf } from "../errors.ts";
import { decompress } from "../runtime/compression.ts";
import type { Store } from "../store/store.ts";
import { openPart } from "./cipher.ts";
import type { Opener } from "./opener.ts";
import { sha256HexOfLarge } from "./sha256.ts";

const MEMORY_BYTES_MAX = 64 << 20;

/** Reads index objects; keeps the ones used last, decoded, within a limit of bytes. */
export class IndexCache {
  readonly #store: Store;
  readonly #opener: Opener;
  readonly #memoryBytesMax: number;
  /** In order of last use. */
  readonly #entries = new Map<string, DecodedIndex>();
  #memoryBytes = 0;

  constructor(store: Store, opener: Opener, memoryBytesMax = MEMORY_BYTES_MAX) {
    this.#store = store;
    this.#opener = opener;
    this.#memoryBytesMax = memoryBytesMax;
  }

  /** Bytes that the kept ones take, roughly. */
  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  /**
   * @param index As the manifest lists it; the object is held against that.
   * @throws IbackupError CORRUPT_DATA when it is missing or damaged, REPOSITORY_FORMAT when a newer
   *   ibackup wrote it, NO_KEY when it is sealed and there is no identity, or what the store throws.
   */
  async read(manifest: Manifest, index: ManifestIndex): Promise<DecodedIndex> {
    // One object may be listed by manifests of disks of different sizes: each has its own checks.
    const key = `${index.name} ${manifest.blockBytes} ${diskBlocksOf(manifest, index)}`;
    const kept = this.#entries.get(key);
    if (kept) {
      this.#entries.delete(key);
      this.#entries.set(key, kept);
      return kept;
    }
    const decoded = await this.#load(manifest, index);
    if (!this.#entries.has(key)) this.#keep(key, decoded);
    return decoded;
  }

  #keep(key: string, decoded: DecodedIndex): void {
    this.#entries.set(key, decoded);
    this.#memoryBytes += memoryOf(decoded);
    for (const [oldest, entry] of this.#entries) {
      if (this.#memoryBytes <= this.#memoryBytesMax) break;
      this.#entries.delete(oldest);
      this.#memoryBytes -= memoryOf(entry);
    }
  }

  /**
   * The packs that an index object names: all that can be known without a key.
   *
   * @throws IbackupError as `read` does, but for NO_KEY.
   */
  async packs(manifest: Manifest, index: ManifestIndex): Promise<readonly PackRef[]> {
    return (await this.#get(manifest, index)).header.packs;
  }

  async #get(manifest: Manifest, index: ManifestIndex) {
    const object = indexKey(index.name);
    const bytes = await this.#store.get(object, { maxBytes: INDEX_BYTES_MAX });
    if (bytes === undefined) throw corruptObject(object, "it is missing");
    if (bytes.length !== index.sizeBytes) {
      const why = `it has ${bytes.length} bytes, the manifest says ${index.sizeBytes}`;
      throw corruptObject(object, why);
    }
    const found = await sha256HexOfLarge(bytes);
    if (found !== index.name) throw corruptObject(object, `its SHA-256 is ${found}`);
    const decoded = decodeIndexHeader(object, bytes);
    const { blockBytes, seal } = decoded.header;
    if (blockBytes !== manifest.blockBytes) {
      const why = `its blocks have ${blockBytes} bytes, the manifest's ${manifest.blockBytes}`;
      throw corruptObject(object, why);
    }
    if (isSealed(seal) !== (manifest.seal !== null)) {
      throw corruptObject(object, "of it and the manifest only one is sealed");
    }
    return { object, ...decoded };
  }

  async #load(manifest: Manifest, index: ManifestIndex): Promise<DecodedIndex> {
    const { object, header, publicPart, body } = await this.#get(manifest, index);
    const key = await this.#opener.keyOf("index", header.seal);
    const packed = key ? await openPart(key, { place: 0, publicPart, bytes: body }) : body;
    if (packed === undefined) throw corruptObject(object, "it cannot be opened with its key");
    const decoded = decodeIndexBody(object, header, {
      body: await unpack(object, packed, header.bodyBytes),
      blockCount: diskBlocksOf(manifest, index),
      packContext: this.#opener.contextOf("pack"),
    });
    checkRange(decoded, index);
    return decoded;
  }
}

/** Of the disk when the index object was written. */
function diskBlocksOf({ blockCount }: Manifest, { diskBlocks }: ManifestIndex): number {
  return diskBlocks ?? blockCount;
}

async function unpack(object: string, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
  try {
    return await decompress(bytes, maxBytes);
  } catch (error) {
    throw corruptObject(object, `its body cannot be decompressed: ${messageOf(error)}`, error);
  }
}

/** The manifest's range decides which windows load the object: a block outside would be lost. */
function checkRange({ object, records }: DecodedIndex, index: ManifestIndex): void {
  const end = index.firstBlock + index.blockCount;
  for (let extent = 0; extent < records.firstBlocks.length; extent++) {
    const first = records.firstBlocks[extent] ?? 0;
    const last = first + (records.blockCounts[extent] ?? 0);
    if (first < index.firstBlock || last > end) {
      const why = `it speaks of blocks ${first} to ${last - 1}, the manifest says ${index.firstBlock} to ${end - 1}`;
      throw corruptObject(object, why);
    }
  }
}
