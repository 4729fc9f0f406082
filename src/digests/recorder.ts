import type { BlockExtent } from "../core/extent.ts";
import { toHex } from "../core/hex.ts";
import { assert, messageOf } from "../errors.ts";
import type { DigestFile, DiskShape } from "./digest_file.ts";
import { DigestDraft } from "./draft.ts";
import { type CachePlace, type DescribedBackup, isSameShape, openDescribed } from "./place.ts";
import { ReadAhead } from "./read_ahead.ts";
import { Turns } from "./turns.ts";

/** Takes down what a backup will hold. Its failures cost the cache, never the backup. */
export interface DigestRecorder {
  /**
   * To be called with all that is stored, in the same order. Nothing is written between two calls.
   *
   * @param bytes `blockCount * blockBytes`, lent until the call returns.
   */
  add(extent: BlockExtent, bytes: Uint8Array): void;
  /** Like `add` with blocks of zeroes. */
  addZero(extent: BlockExtent): void;
  /** No file is touched until `release`, whatever is added: digests wait in memory. */
  hold(): void;
  release(): void;
  /** To be called when the backup exists. */
  commit(backupId: string): Promise<void>;
  /** The backup will not be. Does nothing after `commit`. */
  abort(): Promise<void>;
}

export class CacheRecorder implements DigestRecorder {
  readonly #place: CachePlace;
  readonly #shape: DiskShape;
  readonly #parent: DescribedBackup | undefined;
  readonly #draft: DigestDraft;
  readonly #draftPath: string;
  #held: { extent: BlockExtent; digests: Uint8Array | "zeroes" }[] | undefined;
  #isOver = false;

  constructor(place: CachePlace, shape: DiskShape, parent: DescribedBackup | undefined) {
    this.#place = place;
    this.#shape = shape;
    this.#parent = parent;
    this.#draftPath = `${place.path}.${toHex(place.random(8))}`;
    this.#draft = new DigestDraft({ ...place, shape, path: this.#draftPath });
  }

  add({ firstBlock, blockCount }: BlockExtent, bytes: Uint8Array): void {
    const { blockBytes } = this.#shape;
    assert(bytes.length === blockCount * blockBytes, "the bytes are those of the extent");
    this.#unlessOver(() => {
      const digests = this.#place.seal.digester.blocks(bytes, blockBytes);
      this.#set({ firstBlock, blockCount }, digests);
    });
  }

  addZero(extent: BlockExtent): void {
    this.#unlessOver(() => this.#set(extent, "zeroes"));
  }

  hold(): void {
    this.#held ??= [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    this.#unlessOver(() => {
      for (const { extent, digests } of held) this.#draft.set(extent, digests);
    });
  }

  async commit(backupId: string): Promise<void> {
    if (this.#isOver) return;
    assert(this.#held === undefined, "all that was held back was released");
    try {
      await this.#commit(backupId);
      this.#end();
    } catch (error) {
      this.#drop(error);
      // It may be half changed: then it says so itself, and takes room for nothing.
      tryTo(() => this.#place.files.remove(this.#place.path));
    }
  }

  async abort(): Promise<void> {
    this.#unlessOver(() => this.#end());
  }

  async #commit(backupId: string): Promise<void> {
    const { files, path } = this.#place;
    const parent = this.#parent && openDescribed(this.#place, this.#parent);
    try {
      if (parent && isSameShape(parent.shape, this.#shape)) {
        await this.#change(parent, backupId);
        return;
      }
      // Digests of blocks of another size say nothing.
      const fits = parent?.shape.blockBytes === this.#shape.blockBytes;
      await this.#draft.seal(backupId, fits ? parent : undefined);
      await files.replace(this.#draftPath, path);
    } finally {
      parent?.close();
    }
  }

  /** Makes the parent's file that of the backup. */
  async #change(file: DigestFile, backupId: string): Promise<void> {
    const turns = new Turns();
    const ahead = new ReadAhead(file, this.#draft.pageIndexes());
    try {
      for (const index of this.#draft.pageIndexes()) {
        await ahead.next();
        file.writePage(index, this.#draft.merged(index, file.page(index)));
        await turns.next();
      }
    } finally {
      await ahead.end();
    }
    await file.seal(backupId);
  }

  #set(extent: BlockExtent, digests: Uint8Array | "zeroes"): void {
    if (this.#held === undefined) this.#draft.set(extent, digests);
    else this.#held.push({ extent, digests });
  }

  #unlessOver(work: () => void): void {
    if (this.#isOver) return;
    try {
      work();
    } catch (error) {
      this.#drop(error);
    }
  }

  #drop(error: unknown): void {
    this.#place.onDropped(messageOf(error));
    tryTo(() => this.#end());
  }

  #end(): void {
    this.#isOver = true;
    this.#draft.close();
    this.#place.files.remove(this.#draftPath);
  }
}

/** For clearing up after a failure that has been told already. */
function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // What is left over is found and removed by the next flush.
  }
}
