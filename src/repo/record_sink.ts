import type { BlockExtent } from "../core/extent.ts";
import { indexKey, type PackRef } from "../core/index_codec.ts";
import { PACK_BYTES_MAX } from "../core/limits.ts";
import type { ManifestIndex } from "../core/manifest.ts";
import { packKey } from "../core/pack.ts";
import { release } from "../runtime/memory.ts";
import { PARALLEL_UPLOADS, type Store } from "../store/store.ts";
import { checkFrame } from "./frame_check.ts";
import { type BuiltIndex, IndexBuilder } from "./index_builder.ts";
import { BufferPool, type MemoryGauge } from "./memory_pool.ts";
import { PackBuilder, type PackedFrame } from "./pack_builder.ts";
import type { Sealer } from "./sealer.ts";
import { sha256HexOfLarge } from "./sha256.ts";
import {
  FrameFinder,
  type PackJournal,
  type StoredFrame,
  type StoredPlace,
} from "./stored_packs.ts";

interface OpenPack {
  builder: PackBuilder;
  /** Its number in the table of the open index. */
  number: number;
  ref: PromiseWithResolvers<PackRef>;
  /** Of its frames; the first that failed is enough. */
  checks: Promise<void>[];
  frames: StoredFrame[];
}

/** An object that is named by its own SHA-256. */
interface Upload {
  key: string;
  bytes: Uint8Array;
  sha256: string;
}

/**
 * Takes the records of a backup in order, and stores packs and index objects.
 *
 * An index object is put when its packs are stored. The first failure aborts all other uploads and
 * is kept; what comes afterwards is dropped, so that whoever waits for memory goes on.
 */
export class RecordSink {
  readonly #store: Store;
  readonly #blockBytes: number;
  readonly #sealer: Sealer;
  readonly #packBuffers: BufferPool;
  readonly #journal: PackJournal | undefined;
  readonly #finder: FrameFinder | undefined;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal;
  #failure: { error: unknown } | undefined;
  /** Uploads wait for it while it is there. */
  #pause: PromiseWithResolvers<void> | undefined;
  readonly #underWay = new Set<Promise<void>>();
  #sequence: Promise<void> = Promise.resolve();

  #pack: OpenPack | undefined;
  #packUploads: Promise<void>[] = [];
  #index = new IndexBuilder();
  /** Numbers of packs that were stored before, in the table of the open index. */
  #takenOver = new Map<string, number>();
  readonly #sizesTakenOver = new Map<string, number>();
  #indexUpload: Promise<void> = Promise.resolve();
  readonly #indexes: ManifestIndex[] = [];
  #bytesStored = 0;

  constructor(
    store: Store,
    options: {
      blockBytes: number;
      sealer: Sealer;
      gauge: MemoryGauge;
      journal?: PackJournal | undefined;
      signal?: AbortSignal | undefined;
    },
  ) {
    this.#store = store;
    this.#blockBytes = options.blockBytes;
    this.#sealer = options.sealer;
    const { gauge, signal, journal } = options;
    this.#journal = journal;
    this.#finder = journal && new FrameFinder(store, journal);
    // One is being filled, the others are on their way to the store.
    const count = (store.parallelUploads ?? PARALLEL_UPLOADS) + 1;
    this.#packBuffers = new BufferPool({ count, bufferBytes: PACK_BYTES_MAX, gauge });
    this.#signal = signal ? AbortSignal.any([signal, this.#stop.signal]) : this.#stop.signal;
  }

  /** Throws what the first failed upload threw, or the reason of the signal. */
  throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error;
    this.#signal.throwIfAborted();
  }

  /** @param release Called when the frame is in a pack and was checked, or is dropped. */
  frame(compressed: Promise<PackedFrame>, release: () => void): void {
    // Thrown when its turn comes; until then it is not an unhandled rejection.
    compressed.catch(() => undefined);
    this.#enqueue(async () => {
      let checked = Promise.resolve();
      try {
        const frame = await compressed;
        if (!this.#failure) ({ checked } = await this.#append(frame));
      } finally {
        // The next frame need not wait for it.
        void checked.then(release, release);
      }
    });
  }

  zero(extents: readonly BlockExtent[]): void {
    this.#enqueue(async () => {
      if (this.#failure) return;
      if (!this.#index.hasRoomFor(extents.length)) await this.#sealIndex();
      this.#index.add(undefined, extents);
    });
  }

  /** Waits for the uploads under way; none begins before `resume`. Packing goes on until it must wait. */
  async quiesce(): Promise<void> {
    this.#pause ??= Promise.withResolvers();
    await Promise.allSettled(this.#underWay);
  }

  resume(): void {
    this.#pause?.resolve();
    this.#pause = undefined;
  }

  /** Stores what is left. @throws What the first failed upload threw. */
  async close(): Promise<{ indexes: ManifestIndex[]; bytesStored: number }> {
    this.#enqueue(async () => {
      if (!this.#failure) await this.#sealIndex();
    });
    await this.#settle();
    this.throwIfFailed();
    const bytesBefore = [...this.#sizesTakenOver.values()].reduce((sum, size) => sum + size, 0);
    return { indexes: this.#indexes, bytesStored: this.#bytesStored + bytesBefore };
  }

  /** Stops all uploads and waits for their end. */
  async abort(): Promise<void> {
    this.#fail(new DOMException("The backup was given up", "AbortError"));
    this.resume();
    await this.#settle();
  }

  async #settle(): Promise<void> {
    await this.#sequence;
    await Promise.all(this.#packUploads);
    await this.#indexUpload;
  }

  #enqueue(step: () => Promise<void>): void {
    this.#sequence = this.#sequence.then(step).catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    if (this.#failure) return;
    this.#failure = { error };
    this.#stop.abort(error);
  }

  /** @returns When it resolves or rejects, the frame was checked. */
  async #append(frame: PackedFrame): Promise<{ checked: Promise<void> }> {
    if (!this.#index.hasRoomFor(frame.extents.length)) await this.#sealIndex();
    const stored = await this.#finder?.find(frame);
    if (stored) return this.#takeOver(frame, stored);
    if (this.#pack && !this.#pack.builder.hasRoomFor(frame.bytes.length)) this.#sealPack();
    this.#pack ??= await this.#openPack();
    const { builder, number, checks, frames } = this.#pack;
    const place = await builder.append(frame);
    this.#index.add({ ...place, pack: number }, frame.extents);
    if (this.#journal) frames.push({ place, extents: frame.extents });
    const sealed = builder.buffer.subarray(place.offset, place.offset + place.storedBytes);
    const checked = checkFrame(sealed, place, { key: builder.key, raw: frame.raw });
    // Thrown when the pack is to leave; until then it is not an unhandled rejection.
    checked.catch(() => undefined);
    checks.push(checked);
    return { checked };
  }

  #takeOver({ bytes, raw, extents }: PackedFrame, { pack, place }: StoredPlace) {
    const { name, sizeBytes, key } = pack;
    let number = this.#takenOver.get(name);
    if (number === undefined) {
      // The index object wipes its keys.
      const ref = { name, sizeBytes, key: key && { ...key, key: key.key.slice() } };
      number = this.#index.addPack(Promise.resolve(ref));
      this.#takenOver.set(name, number);
      this.#sizesTakenOver.set(name, sizeBytes);
    }
    this.#index.add({ ...place, pack: number }, extents);
    if (bytes !== raw) release(bytes);
    return { checked: Promise.resolve() };
  }

  async #openPack(): Promise<OpenPack> {
    const builder = new PackBuilder(await this.#packBuffers.take(), this.#sealer.begin("pack"));
    const ref = Promise.withResolvers<PackRef>();
    return { builder, ref, checks: [], frames: [], number: this.#index.addPack(ref.promise) };
  }

  #sealPack(): void {
    if (!this.#pack) return;
    const { builder, ref } = this.#pack;
    const upload = this.#uploadPack(this.#pack)
      .catch((error: unknown) => {
        ref.reject(error);
        this.#fail(error);
      })
      .finally(() => this.#packBuffers.giveBack(builder.buffer));
    this.#pack = undefined;
    this.#packUploads.push(upload);
  }

  async #uploadPack({ builder, ref, checks, frames }: OpenPack): Promise<void> {
    const bytes = await builder.close(this.#blockBytes);
    const name = await sha256HexOfLarge(bytes);
    const pack = { name, sizeBytes: bytes.length, key: builder.key };
    ref.resolve(pack);
    await Promise.all(checks);
    await this.#upload({ key: packKey(name), bytes, sha256: name });
    this.#journal?.add({ ...pack, frames });
  }

  async #upload({ key, bytes, sha256 }: Upload): Promise<void> {
    while (this.#pause) await this.#pause.promise;
    this.#signal.throwIfAborted();
    const upload = this.#store.put(key, bytes, { signal: this.#signal, sha256 });
    this.#underWay.add(upload);
    try {
      await upload;
    } finally {
      this.#underWay.delete(upload);
    }
    this.#bytesStored += bytes.length;
  }

  /**
   * Closes the open index object, and its last pack with it: the name of a pack is known only when
   * it is full, and an index object must not wait for one that is still being filled.
   */
  async #sealIndex(): Promise<void> {
    this.#sealPack();
    if (this.#index.isEmpty) return;
    const index = this.#index;
    const packUploads = this.#packUploads;
    this.#index = new IndexBuilder();
    this.#takenOver = new Map();
    this.#packUploads = [];
    // One at a time, so that index objects do not pile up in memory when the store is slow.
    await this.#indexUpload;
    this.#indexUpload = this.#uploadIndex(index, packUploads).catch((error: unknown) => {
      this.#fail(error);
    });
  }

  async #uploadIndex(index: IndexBuilder, packUploads: Promise<void>[]): Promise<void> {
    await Promise.all(packUploads);
    this.throwIfFailed();
    const { bytes, ...built }: BuiltIndex = await index.close(
      this.#blockBytes,
      this.#sealer.begin("index"),
    );
    await this.#upload({ key: indexKey(built.name), bytes, sha256: built.name });
    this.#indexes.push({ ...built, sizeBytes: bytes.length });
  }
}
