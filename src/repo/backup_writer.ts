import type { BlockExtent } from "../core/extent.ts";
import type { ManifestIndex } from "../core/manifest.ts";
import type { Repository } from "./repository.ts";

export interface BackupWriterOptions {
  blockBytes: number;
  /** Of the disk. */
  blockCount: number;
  signal?: AbortSignal;
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
  /** Resolves when all is stored. The writer cannot be used any more. */
  finish(): Promise<WrittenBackup>;
  /** Gives up and waits for what is under way. Packs stored so far stay until gc. */
  abort(): Promise<void>;
  /** Most bytes of blocks and packs that were held at one time so far. */
  readonly bytesHeldMax: number;
}

export function openBackupWriter(
  _repository: Repository,
  _options: BackupWriterOptions,
): BackupWriter {
  throw new Error("Not written yet");
}
