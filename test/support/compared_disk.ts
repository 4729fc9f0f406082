/** A disk in memory, backed up to a repository in memory, with digests in files in memory. */
import { Buffer } from "node:buffer";
import { BlockSet } from "../../src/core/block_set.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { type DigestCache, openDigestCache } from "../../src/digests/digest_cache.ts";
import { type Comparison, compareWithParent } from "../../src/job/compare_disk.ts";
import { describe } from "../../src/job/flush_digests.ts";
import type { FlushTask } from "../../src/job/flush_task.ts";
import { FreezeGate } from "../../src/job/freeze_gate.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { BLOCK_BYTES, newRepository, takeBackup } from "./backups.ts";
import { FaultFiles } from "./fault_files.ts";
import { MemoryStore } from "./memory_store.ts";
import type { Random } from "./random.ts";

/** Less than the disk needs, so that drafts come to have a file. */
const PAGES_IN_MEMORY = 2;

export class ComparedDisk {
  readonly files = new FaultFiles();
  readonly store = new MemoryStore();
  bytes: Uint8Array;
  newest: StoredManifest | undefined;
  /** What the newest backup holds. */
  saved = new Uint8Array();
  /** Why digests were not kept, so far. */
  readonly dropped: string[] = [];
  readonly #random: Random;
  #repository: Repository | undefined;

  constructor(blockCount: number, random: Random) {
    this.#random = random;
    this.bytes = new Uint8Array(blockCount * BLOCK_BYTES);
  }

  get blockCount(): number {
    return this.bytes.length / BLOCK_BYTES;
  }

  async repository(): Promise<Repository> {
    this.#repository ??= await newRepository(this.store);
    return this.#repository;
  }

  block(index: number): Uint8Array {
    return this.bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
  }

  resize(blockCount: number): void {
    const bytes = new Uint8Array(blockCount * BLOCK_BYTES);
    bytes.set(this.bytes.subarray(0, bytes.length));
    this.bytes = bytes;
  }

  /** As each ibackup does that is started. Undefined where that fails. */
  async openCache(): Promise<DigestCache | undefined> {
    const { id } = await this.repository();
    const onDropped = (why: string): void => void this.dropped.push(why);
    try {
      return await openDigestCache({
        folder: "/cache",
        repositoryId: id,

        diskTag: "vda",
        now: new Date(0),
        random: (length) => this.#random.bytes(length),
        onDropped,
        files: this.files,
        pagesInMemory: PAGES_IN_MEMORY,
      });
    } catch (error) {
      onDropped(String(error));
      return undefined;
    }
  }

  /** The product's own comparison of the disk with the newest backup. */
  async compare({ scan } = { scan: false }): Promise<Comparison> {
    if (!this.newest) throw new Error("there is a backup to compare with");
    const repository = await this.repository();
    const { blockCount } = this;
    const flush = {
      disk: { blockCount, device: { path: "memory", sizeBytes: this.bytes.length } },
      context: {
        progress: SILENT_PROGRESS,
        signal: new AbortController().signal,
        freezeGate: new FreezeGate(),
      },
      options: { scan },
      repository,
      backups: await repository.manifests(),
      digestCache: await this.openCache(),
      reader: {
        blockBytes: BLOCK_BYTES,
        blockCount,
        read: (extents: Iterable<BlockExtent>) => this.#runs(extents),
        readInto: async (extent: BlockExtent, into: Uint8Array) => into.set(this.#content(extent)),
      },
    };
    return await compareWithParent(flush as unknown as FlushTask, this.newest.manifest);
  }

  /** The obviously right comparison. */
  differences(): number[] {
    return Array.from({ length: this.blockCount }, (_, index) => index).filter((index) => {
      const saved = this.saved.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES);
      return saved.length === 0 || Buffer.compare(saved, this.block(index)) !== 0;
    });
  }

  /**
   * Takes a backup of these blocks, and leaves their digests.
   *
   * @param passes Each added after the one before; what the last one says of a block counts.
   * @param how `isBase` starts a chain anew.
   */
  async flush(
    passes: BlockSet[],
    how: { isBase?: boolean; beforeCommit?: () => void } = {},
  ): Promise<void> {
    const parent = how.isBase === true ? undefined : this.newest;
    const cache = await this.openCache();
    const shape = { blockBytes: BLOCK_BYTES, blockCount: this.blockCount };
    const digests = cache?.record(shape, this.newest && describe(this.newest.manifest));
    const changes: { firstBlock: number; blockCount: number; bytes: Uint8Array }[] = [];
    for (const [index, blocks] of passes.entries()) {
      for (const extent of blocks.extents()) {
        const bytes = this.#content(extent).slice();
        // Of what another pass reads again, this one saw something else.
        const isAgain = passes.slice(index + 1).some((later) => later.has(extent.firstBlock));
        if (isAgain) bytes.set(this.#random.bytes(BLOCK_BYTES));
        changes.push({ ...extent, bytes });
        digests?.add(extent, bytes);
      }
    }
    const sequence = (this.newest?.manifest.sequence ?? -1) + 1;
    const target = { blockCount: this.blockCount, parent, sequence };
    this.newest = await takeBackup(await this.repository(), target, changes);
    this.saved = this.bytes.slice();
    how.beforeCommit?.();
    await digests?.commit(this.newest.manifest.backupId);
  }

  async *#runs(extents: Iterable<BlockExtent>) {
    for (const extent of extents) yield { ...extent, bytes: this.#content(extent) };
  }

  #content({ firstBlock, blockCount }: BlockExtent): Uint8Array {
    return this.bytes.subarray(firstBlock * BLOCK_BYTES, (firstBlock + blockCount) * BLOCK_BYTES);
  }
}

export function setOf(blockCount: number, blocks: Iterable<number>): BlockSet {
  const set = new BlockSet(blockCount);
  for (const block of blocks) set.add(block, 1);
  return set;
}

export function blocksIn(set: BlockSet): number[] {
  return [...set.extents()].flatMap(({ firstBlock, blockCount }) =>
    Array.from({ length: blockCount }, (_, i) => firstBlock + i),
  );
}
