/**
 * Makes the space of dead frames free, that lie among live ones in the packs of a backup.
 *
 * A backup that has taken over what its parents held has frames of which no block is its own any
 * more. Where little is left of a pack, that is stored anew; then new index objects name what is
 * alive, in the old order, and a new map names them. The old objects are garbage from then on.
 */
import { nextMap } from "../core/backup_map.ts";
import type { BlockExtent } from "../core/extent.ts";
import { type DecodedIndex, indexKey, type PackRef } from "../core/index_codec.ts";
import type { ManifestIndex, StoredManifest } from "../core/manifest.ts";
import { at, extentsOf, type FramePlace, placeOf, RECORD_KIND } from "../core/records.ts";
import { assert, IbackupError } from "../errors.ts";
import type { Store } from "../store/store.ts";
import { openBackupWriter, storePieces } from "./backup_writer.ts";
import { readBlocks } from "./block_reader.ts";
import { IndexBuilder } from "./index_builder.ts";
import { findLiveRecords, type LiveRecords } from "./live_records.ts";
import { putMap } from "./maps.ts";
import type { Repository } from "./repository.ts";
import type { Sealer } from "./sealer.ts";
import type { FindSigner } from "./signature.ts";

/** A pack of which less than this is alive is left. */
const LIVE_SHARE_MIN = 0.3;
/** A backup with more index objects gets fewer: a map must not grow without end. */
const INDEXES_MAX = 64;
/** What is damaged, or sealed while there is no identity, stays as it is. */
const HINDRANCES: ReadonlySet<string> = new Set(["CORRUPT_DATA", "NO_KEY"]);

export interface RewriteResult {
  /** Packs that the backup needs no more. */
  packs: number;
  /** Bytes of packs and index objects that were stored anew. */
  bytesStored: number;
}

export interface RewriteOptions {
  /** Called before the new objects are named; throws where they may be gone again. */
  confirm?: (() => Promise<void>) | undefined;
  /** Of the map. */
  signer?: FindSigner | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * @returns Undefined when there is nothing to gain, the backup is damaged or cannot be opened, or
 *   another one has changed it meanwhile.
 * @throws What the store throws.
 */
export async function rewriteBackup(
  repository: Repository,
  stored: StoredManifest,
  options: RewriteOptions = {},
): Promise<RewriteResult | undefined> {
  const { map, manifest } = stored;
  if (map === undefined || map.removing || manifest.indexes.length < 2) return undefined;
  try {
    const live = await findLiveRecords(repository, stored);
    const dying = new Set(
      [...live.packs].flatMap(([name, { sizeBytes, liveBytes }]) =>
        liveBytes < sizeBytes * LIVE_SHARE_MIN ? name : [],
      ),
    );
    if (dying.size === 0 && manifest.indexes.length <= INDEXES_MAX) return undefined;
    return await rewrite(repository, stored, { ...options, live, dying });
  } catch (error) {
    if (error instanceof IbackupError && HINDRANCES.has(error.code)) return undefined;
    throw error;
  }
}

async function rewrite(
  repository: Repository,
  stored: StoredManifest,
  given: { live: LiveRecords; dying: ReadonlySet<string> } & RewriteOptions,
): Promise<RewriteResult | undefined> {
  const { live, dying, confirm, signer, signal } = given;
  const sealer = await repository.sealer();
  try {
    const kept = await keepRecords(repository, stored, { live, dying, sealer });
    const moved = await moveBlocks(repository, stored, { extents: kept.moved, sealer, signal });
    const indexes = [...kept.indexes, ...moved.indexes];
    const map = { ...nextMap(stored), indexes: indexes.map((index) => sized(index, stored)) };
    await confirm?.();
    if (!(await putMap(repository.store, { stored, map, signer }))) return undefined;
    return { packs: dying.size, bytesStored: kept.bytesStored + moved.bytesStored };
  } finally {
    sealer.close();
  }
}

/** Records may speak of blocks past the end of the disk as it is now. */
function sized(index: ManifestIndex, { manifest }: StoredManifest) {
  const sizes = manifest.indexes.map(({ diskBlocks }) => diskBlocks ?? 0);
  return { ...index, diskBlocks: Math.max(manifest.blockCount, ...sizes) };
}

interface KeptRecords {
  indexes: ManifestIndex[];
  bytesStored: number;
  /** Blocks of live records in dying packs, in no order. */
  moved: BlockExtent[];
}

/** Stores index objects of the live records, but those of dying packs. */
async function keepRecords(
  repository: Repository,
  { manifest }: StoredManifest,
  { live, dying, sealer }: { live: LiveRecords; dying: ReadonlySet<string>; sealer: Sealer },
): Promise<KeptRecords> {
  const moved: BlockExtent[] = [];
  const output = new IndexOutput(repository.store, { sealer, blockBytes: manifest.blockBytes });
  for (const [number, index] of manifest.indexes.entries()) {
    const decoded = await repository.indexes.read(manifest, index);
    const alive = live.alive[number] ?? new Uint8Array();
    for (const record of alive.keys()) {
      if (alive[record] !== 1) continue;
      const data = dataOf(decoded, record);
      const extents = extentsOf(decoded.records, record);
      if (data && dying.has(data.pack.name)) moved.push(...extents);
      else await output.add(data, extents);
    }
  }
  await output.close();
  return { ...output.result, moved };
}

/** Undefined for a zero record. */
function dataOf({ records, packs }: DecodedIndex, record: number): DataRecord | undefined {
  if (records.kinds[record] === RECORD_KIND.zero) return undefined;
  const pack = packs[at(records.packs, record)];
  assert(pack !== undefined, "a decoded record is in a pack of its table");
  return { pack, place: placeOf(records, record) };
}

interface DataRecord {
  pack: PackRef;
  place: FramePlace;
}

/** Stores records of packs that are there already. */
class IndexOutput {
  readonly result: { indexes: ManifestIndex[]; bytesStored: number } = {
    indexes: [],
    bytesStored: 0,
  };
  readonly #store: Store;
  readonly #options: { sealer: Sealer; blockBytes: number };
  #builder = new IndexBuilder();
  #numbers = new Map<string, number>();

  constructor(store: Store, options: { sealer: Sealer; blockBytes: number }) {
    this.#store = store;
    this.#options = options;
  }

  /** @param data Undefined for a zero record. */
  async add(data: DataRecord | undefined, extents: readonly BlockExtent[]): Promise<void> {
    if (!this.#builder.hasRoomFor(extents.length)) await this.close();
    this.#builder.add(data && { ...data.place, pack: this.#numberOf(data.pack) }, extents);
  }

  async close(): Promise<void> {
    if (this.#builder.isEmpty) return;
    const { sealer, blockBytes } = this.#options;
    const { bytes, ...built } = await this.#builder.close(blockBytes, sealer.begin("index"));
    await this.#store.put(indexKey(built.name), bytes);
    this.result.indexes.push({ ...built, sizeBytes: bytes.length });
    this.result.bytesStored += bytes.length;
    this.#builder = new IndexBuilder();
    this.#numbers = new Map();
  }

  #numberOf(pack: PackRef): number {
    const number =
      this.#numbers.get(pack.name) ?? this.#builder.addPack(Promise.resolve(own(pack)));
    this.#numbers.set(pack.name, number);
    return number;
  }
}

/** The builder wipes the keys of its packs when it is done. (And `slice` of a Buffer is no copy.) */
function own({ key, ...pack }: PackRef): PackRef {
  return key ? { ...pack, key: { ...key, key: new Uint8Array(key.key) } } : pack;
}

/** Stores blocks anew, as they are in the backup. */
async function moveBlocks(
  repository: Repository,
  stored: StoredManifest,
  given: { extents: readonly BlockExtent[]; sealer: Sealer; signal: AbortSignal | undefined },
): Promise<{ indexes: ManifestIndex[]; bytesStored: number }> {
  const { extents, sealer, signal } = given;
  const { blockBytes, blockCount } = stored.manifest;
  const wanted = joined(extents, blockCount);
  if (wanted.length === 0) return { indexes: [], bytesStored: 0 };
  const writer = openBackupWriter(repository, { blockBytes, blockCount, sealer, signal });
  const options = { onlyOwn: true, extents: wanted, signal };
  return await storePieces(writer, readBlocks(repository, [stored], options));
}

/** Ascending and disjoint, up to the end of the disk. */
function joined(extents: readonly BlockExtent[], blockCount: number): BlockExtent[] {
  const result: BlockExtent[] = [];
  for (const extent of extents.toSorted((left, right) => left.firstBlock - right.firstBlock)) {
    const end = Math.min(extent.firstBlock + extent.blockCount, blockCount);
    const last = result.at(-1);
    const lastEnd = last === undefined ? -1 : last.firstBlock + last.blockCount;
    const first = Math.max(extent.firstBlock, lastEnd);
    if (first >= end) continue;
    if (last && first === lastEnd) last.blockCount = end - last.firstBlock;
    else result.push({ firstBlock: first, blockCount: end - first });
  }
  return result;
}
