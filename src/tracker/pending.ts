/**
 * Pending sets: the blocks that a repository still needs of a disk.
 *
 * A collect empties the kernel's bitmap, so its bits go into the pending set of every repository
 * the disk is backed up to, not only of the one being flushed. A set is a folder on tmpfs, bound
 * to the boot and to the attachment of the disk:
 *
 *     pending/<major>-<minor>-<start sector>/<repository id>/state.json
 *                                                            carry.bits   from other flushes
 *                                                            7.bits       all that this flush needs
 *                                                            9.bits       of its newest collect
 *
 * Beside them, `recent/<attachment>` has the blocks that were collected since the hooks were last known
 * to have seen the end of every write (see `addRecent`).
 *
 * Nothing is ever taken out of a file, but whole files are removed: by a commit those whose blocks were
 * read after they were collected, and before it those whose blocks are in another one too, so there
 * are never more than these. A crash anywhere leaves every block in a file or in the kernel. The
 * disk's lock is held while this is used.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { BlockSet } from "../core/block_set.ts";
import { assert, systemCodeOf } from "../errors.ts";
import { attachmentOf, recentFileOf } from "./attachments.ts";
import { addBitFile, makeBitFile, readBitFile } from "./bit_file.ts";
import {
  type DiskPlace,
  diskFolderOf,
  type LastCollect,
  type PendingState,
  readState,
  statesIn,
  writeState,
} from "./pending_state.ts";

export interface PendingPlace extends DiskPlace {
  repositoryId: string;
}

/** What a set begins with. */
type NewState = Pick<PendingState, "bootId" | "session" | "diskSequence" | "sizeBytes" | "taints">;

const CARRY = "carry.bits";

export class PendingSet {
  readonly #runtimeFolder: string;
  readonly #diskFolder: string;
  readonly #folder: string;
  readonly #bitmapBytes: number;
  readonly #blockCount: number;
  #state: PendingState | undefined;
  /** Of the file that has all that this flush needs. */
  #flushEpoch: number | undefined;

  constructor({ repositoryId, ...place }: PendingPlace, blockCount: number) {
    assert(/^[0-9a-z-]+$/i.test(repositoryId), "a repository id is a plain file name");
    this.#runtimeFolder = place.runtimeFolder;
    this.#diskFolder = diskFolderOf(place);
    this.#folder = join(this.#diskFolder, repositoryId);
    this.#blockCount = blockCount;
    this.#bitmapBytes = Math.ceil(blockCount / 64) * 8;
    this.#state = readState(this.#folder);
  }

  /** What this machine remembers, or undefined when there is nothing that can be trusted. */
  get state(): PendingState | undefined {
    return this.#state;
  }

  /** Forgets everything and begins anew; the next flush cannot be "trusted". */
  reset(state: NewState): void {
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#ensureFile(join(this.#folder, CARRY));
    const empty = { parentId: null, epoch: 0, committing: null, lastCollect: null };
    this.#write({ version: 1, ...state, ...empty, bridged: false });
  }

  /**
   * To be called at the start of a flush: completes the commit of a backup that turns out to be in
   * the repository, and takes over what other repositories' flushes have collected.
   */
  begin(newest: { backupId: string; sha256: string } | undefined): void {
    const { committing } = this.#current();
    if (committing !== null && committing.sha256 === newest?.sha256) this.#finishCommit();
    else this.#write({ ...this.#current(), committing: null });
    const older = this.#files();
    // As a numbered file it is dropped with the others, and the new carry is never touched by us.
    const epoch = this.#advance();
    const carry = join(this.#folder, CARRY);
    if (existsSync(carry)) renameSync(carry, this.#fileOf(epoch));
    this.#ensureFile(carry);
    this.#ensureFile(this.#fileOf(epoch));
    this.#flushEpoch = epoch;
    for (const { name } of older) this.#moveInto(epoch, join(this.#folder, name));
  }

  /**
   * Opens the file for the next collect.
   * @returns Every file that the collect must put its bits into: this set's two, the carry of each
   *   other repository whose set belongs to the same session, and the recent bits of all.
   */
  beginEpoch(): string[] {
    const before = this.epoch;
    const file = this.#ensureFile(this.#fileOf(this.#advance()));
    // A collect that was cut off has cleared nothing in the kernel that is not in both.
    if (before !== this.#flushEpoch) rmSync(this.#fileOf(before), { force: true });
    return [file, this.#flushFile, ...this.#carries(), this.#ensureFile(this.#recent)];
  }

  /**
   * Puts the blocks that were collected since `forgetRecent` into all sets once more, to be read again.
   * To be called after a collect, when the hooks turn out to have missed the end of a write.
   */
  addRecent(): void {
    const files = [this.#fileOf(this.epoch), this.#flushFile, ...this.#carries()];
    addBitFile(this.#recent, this.#bitmapBytes, files);
  }

  /** To be called when every write that had begun has ended, and was seen to. */
  forgetRecent(): void {
    rmSync(this.#recent, { force: true });
  }

  get #recent(): string {
    return recentFileOf(this.#runtimeFolder, attachmentOf(this.#current().session));
  }

  #carries(): string[] {
    return this.#others().map(({ folder }) => this.#ensureFile(join(folder, CARRY)));
  }

  /**
   * To be called when the bits of a collect are in the files of `beginEpoch`, and never before: up to
   * `last.counters`, every write is in these sets.
   */
  noteCollect(last: LastCollect | null): void {
    this.#write({ ...this.#current(), lastCollect: last });
    for (const { folder, state } of this.#others()) {
      writeState(folder, { ...state, lastCollect: last });
    }
  }

  get epoch(): number {
    return this.#current().epoch;
  }

  /** The blocks of every numbered file: all that was collected for this repository. */
  read(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    for (const { name } of this.#files()) this.#addFile(name, blocks);
    return blocks;
  }

  /** All blocks of the set, whoever collected them. The disk's lock is not needed for it. */
  look(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    for (const name of [...this.#files().map((file) => file.name), CARRY]) {
      try {
        this.#addFile(name, blocks);
      } catch (error) {
        // A flush moves and removes files meanwhile.
        if (systemCodeOf(error) !== "ENOENT") throw error;
      }
    }
    return blocks;
  }

  /** The blocks of the newest collect alone. */
  readEpoch(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    this.#addFile(`${this.epoch}.bits`, blocks);
    return blocks;
  }

  /** To be called right before the manifest is put. */
  prepareCommit(committing: NonNullable<PendingState["committing"]>): void {
    this.#write({ ...this.#current(), committing });
  }

  /** To be called when the manifest is there: drops the files whose blocks it holds. */
  commit(): void {
    this.#finishCommit();
    this.#write({ ...this.#current(), bridged: false });
  }

  /** The sets of other repositories that the kernel's bits go to as well. */
  #others(): { folder: string; state: PendingState }[] {
    const { session } = this.#current();
    return statesIn(this.#diskFolder).filter(
      ({ folder, state }) => folder !== this.#folder && state.session === session,
    );
  }

  #finishCommit(): void {
    const { committing, ...state } = this.#current();
    assert(committing !== null, "a commit was prepared");
    for (const { name, epoch } of this.#files()) {
      if (epoch < committing.firstEpoch) unlinkSync(join(this.#folder, name));
    }
    const { backupId, taints } = committing;
    this.#write({ ...state, taints, parentId: backupId, committing: null });
  }

  #current(): PendingState {
    assert(this.#state !== undefined, "the pending set has been begun");
    return this.#state;
  }

  #write(state: PendingState): void {
    writeState(this.#folder, state);
    this.#state = state;
  }

  #advance(): number {
    const epoch = this.epoch + 1;
    this.#write({ ...this.#current(), epoch });
    return epoch;
  }

  #fileOf(epoch: number): string {
    return join(this.#folder, `${epoch}.bits`);
  }

  get #flushFile(): string {
    assert(this.#flushEpoch !== undefined, "the flush has begun");
    return this.#fileOf(this.#flushEpoch);
  }

  /** Where it is cut off, some blocks are in both files. */
  #moveInto(epoch: number, from: string): void {
    addBitFile(from, this.#bitmapBytes, [this.#fileOf(epoch)]);
    unlinkSync(from);
  }

  #files(): { name: string; epoch: number }[] {
    return readdirSync(this.#folder)
      .filter((name) => /^[0-9]+\.bits$/.test(name))
      .map((name) => ({ name, epoch: Number.parseInt(name, 10) }));
  }

  #ensureFile(path: string): string {
    makeBitFile(path, this.#bitmapBytes);
    return path;
  }

  #addFile(name: string, into: BlockSet): void {
    readBitFile(join(this.#folder, name), this.#bitmapBytes, (piece, at) => {
      into.addBitmap(at / 8, piece);
    });
  }
}
