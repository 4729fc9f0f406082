import type { BlockExtent } from "../core/extent.ts";
import type { ManifestIndex } from "../core/manifest.ts";
import { PendingZeroes } from "../core/pending_zeroes.ts";
import { FRAME_DIGEST_BYTES, RECORD_KIND } from "../core/records.ts";
import { assert } from "../errors.ts";
import { compress } from "../runtime/compression.ts";
import { noteDiscarded, release } from "../runtime/memory.ts";
import { contentRuns } from "../runtime/zero_scan.ts";
import type { Piece } from "./block_reader.ts";
import { blocksPerFrame, FrameBuilder, type RawFrame } from "./frame_builder.ts";
import { BufferPool, MemoryGauge } from "./memory_pool.ts";
import type { PackedFrame } from "./pack_builder.ts";
import { RecordSink } from "./record_sink.ts";
import type { Repository } from "./repository.ts";
import { NO_SEALER, type Sealer } from "./sealer.ts";
import { sha256 } from "./sha256.ts";
import type { PackJournal } from "./stored_packs.ts";

const ZSTD_LEVEL = 3;
/** Frames being compressed or waiting for their place in a pack, and the most they may take. */
const FRAMES_IN_FLIGHT = 8;
const FRAME_MEMORY = 8 << 20;
/** What a call leaves behind: promises, closures, views. */
const CALL_GARBAGE_BYTES = 3 << 10;
/** Runs of zeroes that are held back for merging before they get a record. */
const ZERO_EXTENTS_MAX = 65_536;

export interface BackupWriterOptions {
  blockBytes: number;
  /** Of the disk. */
  blockCount: number;
  /** Of `Repository.sealer`. Default: nothing is sealed, in a repository without encryption. */
  sealer?: Sealer | undefined;
  /** What is in it is not stored again. */
  journal?: PackJournal | undefined;
  signal?: AbortSignal | undefined;
}

/** What a finished writer has stored: the fields of the manifest that it knows. */
export interface WrittenBackup {
  indexes: ManifestIndex[];
  /** Blocks added, zeroes included; one added twice counts twice. */
  blocksChanged: number;
  blocksZero: number;
  /** Bytes of the packs and index objects. */
  bytesStored: number;
}

/**
 * Stores the blocks of one backup. Nothing of it is visible until its manifest is committed.
 *
 * Blocks may come in any order and more than once; the last add of a block counts. Calls may
 * overlap, they are served in the order in which they were made.
 */
export interface BackupWriter {
  /**
   * @param bytes `blockCount * blockBytes`, lent until the promise resolves.
   * @throws What an upload failed with, at the latest in `finish`.
   */
  add(extent: BlockExtent, bytes: Uint8Array): Promise<void>;
  /** Adds blocks that hold only zeroes. They cost no space, however many. */
  addZero(extent: BlockExtent): Promise<void>;
  /**
   * Waits for the uploads under way; none begins before `resume`. Blocks can be added meanwhile, but
   * when the packs are full an `add` waits for `resume`.
   */
  quiesce(): Promise<void>;
  resume(): void;
  /** Resolves when all is stored. The writer cannot be used any more. */
  finish(): Promise<WrittenBackup>;
  /** Gives up and waits for what is under way. Packs stored so far stay until gc. */
  abort(): Promise<void>;
  /** Most bytes of blocks and packs that were held at one time so far. */
  readonly bytesHeldMax: number;
}

export function openBackupWriter(
  repository: Repository,
  options: BackupWriterOptions,
): BackupWriter {
  return new PackingWriter(repository, options);
}

/** Stores all that is read of other backups, and finishes; gives up when it cannot. */
export async function storePieces(
  writer: BackupWriter,
  pieces: AsyncIterable<Piece>,
): Promise<WrittenBackup> {
  try {
    for await (const piece of pieces) {
      const extent = { firstBlock: piece.firstBlock, blockCount: piece.blockCount };
      if (piece.kind === "data") await writer.add(extent, piece.bytes);
      else await writer.addZero(extent);
    }
    return await writer.finish();
  } catch (error) {
    await writer.abort();
    throw error;
  }
}

class PackingWriter implements BackupWriter {
  readonly #options: BackupWriterOptions;
  readonly #gauge = new MemoryGauge();
  readonly #frameBuffers: BufferPool;
  readonly #sealer: Sealer;
  readonly #sink: RecordSink;
  readonly #zeroes = new PendingZeroes();
  #frame: FrameBuilder | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #isClosed = false;
  #blocksChanged = 0;
  #blocksZero = 0;

  constructor(repository: Repository, options: BackupWriterOptions) {
    const { blockBytes, signal, journal, sealer = NO_SEALER } = options;
    assert(
      repository.isSealed === (sealer !== NO_SEALER),
      "all that a sealed repository holds is sealed",
    );
    const bufferBytes = blocksPerFrame(blockBytes) * blockBytes;
    const count = Math.max(3, Math.min(FRAMES_IN_FLIGHT, Math.floor(FRAME_MEMORY / bufferBytes)));
    this.#options = options;
    this.#frameBuffers = new BufferPool({ count, bufferBytes, gauge: this.#gauge });
    this.#sealer = sealer;
    this.#sink = new RecordSink(repository.store, {
      blockBytes,
      sealer,
      signal,
      journal,
      gauge: this.#gauge,
    });
  }

  get bytesHeldMax(): number {
    return this.#gauge.heldBytesMax;
  }

  async add(extent: BlockExtent, bytes: Uint8Array): Promise<void> {
    const { blockBytes } = this.#options;
    assert(bytes.length === extent.blockCount * blockBytes, "the bytes are those of the extent");
    await this.#inTurn(async () => {
      for (const { block, blockCount, isZero } of contentRuns(bytes, blockBytes)) {
        const run = { firstBlock: extent.firstBlock + block, blockCount };
        if (isZero) this.#addZeroRun(run);
        else await this.#addDataRun(run, bytes.subarray(block * blockBytes));
      }
    }, extent);
  }

  async addZero(extent: BlockExtent): Promise<void> {
    await this.#inTurn(async () => this.#addZeroRun(extent), extent);
  }

  async quiesce(): Promise<void> {
    await this.#sink.quiesce();
  }

  resume(): void {
    this.#sink.resume();
  }

  async finish(): Promise<WrittenBackup> {
    assert(!this.#isClosed, "a writer is finished once");
    this.#isClosed = true;
    await this.#tail;
    if (this.#frame) this.#closeFrame(this.#frame);
    this.#closeZeroes();
    const { indexes, bytesStored } = await this.#sink.close();
    const [blocksChanged, blocksZero] = [this.#blocksChanged, this.#blocksZero];
    return { indexes, bytesStored, blocksChanged, blocksZero };
  }

  async abort(): Promise<void> {
    this.#isClosed = true;
    await this.#sink.abort();
    await this.#tail;
  }

  async #inTurn(work: () => Promise<void>, extent: BlockExtent): Promise<void> {
    const { firstBlock, blockCount } = extent;
    noteDiscarded(CALL_GARBAGE_BYTES);
    assert(!this.#isClosed, "nothing is added after the end");
    assert(firstBlock >= 0 && blockCount > 0, "an extent has a block");
    assert(firstBlock + blockCount <= this.#options.blockCount, "an extent lies on the disk");
    const turn = this.#tail.then(() => {
      this.#sink.throwIfFailed();
      return work();
    });
    this.#tail = turn.catch(() => undefined);
    await turn;
  }

  /** Invariant: no block is both in the open frame and among the pending zeroes, nor twice. */
  #addZeroRun(run: BlockExtent): void {
    if (this.#frame?.intersects(run)) this.#closeFrame(this.#frame);
    this.#zeroes.add(run);
    this.#blocksChanged += run.blockCount;
    this.#blocksZero += run.blockCount;
    if (this.#zeroes.extentCount >= ZERO_EXTENTS_MAX) this.#closeZeroes();
  }

  async #addDataRun(run: BlockExtent, bytes: Uint8Array): Promise<void> {
    const { blockBytes } = this.#options;
    if (this.#zeroes.intersects(run)) this.#closeZeroes();
    if (this.#frame?.intersects(run)) this.#closeFrame(this.#frame);
    this.#blocksChanged += run.blockCount;
    for (let done = 0; done < run.blockCount; ) {
      const rest = this.#beforeStored({
        firstBlock: run.firstBlock + done,
        blockCount: run.blockCount - done,
      });
      this.#frame ??= new FrameBuilder(await this.#takeFrameBuffer(), blockBytes);
      const taken = this.#frame.take(rest, bytes.subarray(done * blockBytes));
      if (taken === 0 || this.#frame.isFull) this.#closeFrame(this.#frame);
      done += taken;
    }
  }

  /**
   * Where a frame that is stored already begins, one begins now: so a change in one leaves those after
   * it as they are.
   * @returns The beginning of the run, up to the next such block.
   */
  #beforeStored({ firstBlock, blockCount }: BlockExtent): BlockExtent {
    const { journal } = this.#options;
    if (!journal) return { firstBlock, blockCount };
    if (this.#frame && journal.begins(firstBlock)) this.#closeFrame(this.#frame);
    let end = 1;
    while (end < blockCount && !journal.begins(firstBlock + end)) end++;
    return { firstBlock, blockCount: end };
  }

  async #takeFrameBuffer(): Promise<Uint8Array> {
    const buffer = await this.#frameBuffers.take();
    this.#sink.throwIfFailed();
    return buffer;
  }

  #closeFrame(frame: FrameBuilder): void {
    this.#frame = undefined;
    const raw = frame.close();
    const willBeSealed = this.#sealer !== NO_SEALER;
    this.#sink.frame(packFrame(raw, willBeSealed), () => this.#frameBuffers.giveBack(raw.buffer));
  }

  #closeZeroes(): void {
    if (this.#zeroes.extentCount > 0) this.#sink.zero(this.#zeroes.take());
  }
}

async function packFrame({ raw, extents }: RawFrame, willBeSealed: boolean): Promise<PackedFrame> {
  const packed = await compress(raw, ZSTD_LEVEL);
  const shrinks = packed.length < raw.length;
  if (!shrinks) release(packed);
  const bytes = shrinks ? packed : raw;
  const digest = willBeSealed ? undefined : (await sha256(bytes)).subarray(0, FRAME_DIGEST_BYTES);
  return { codec: shrinks ? RECORD_KIND.zstd : RECORD_KIND.raw, bytes, raw, digest, extents };
}
