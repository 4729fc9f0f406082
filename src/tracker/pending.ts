/**
 * Pending sets: the blocks that a repository still needs of a disk.
 *
 * A collect empties the kernel's bitmap, so its bits go into the pending set of every repository
 * the disk is backed up to, not only of the one being flushed. A set is a folder on tmpfs, bound
 * to the boot and to the attachment of the disk:
 *
 *     pending/<major>-<minor>-<start sector>/<repository id>/state.json
 *                                                            carry.bits   from other flushes
 *                                                            1.bits ...   one per collect
 *
 * Beside them, `recent/<attachment>` has the blocks that were collected since the hooks were last known
 * to have seen the end of every write (see `addRecent`).
 *
 * Nothing is ever taken out of a file: a commit removes whole files, and only those whose blocks
 * were read after they were collected. A crash anywhere leaves every block in a file or in the
 * kernel. The disk's lock is held while this is used.
 */
import {
  closeSync,
  constants,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { BlockSet } from "../core/block_set.ts";
import { assert } from "../errors.ts";
import { attachmentOf, recentFileOf } from "./attachments.ts";
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
const PIECE_BYTES = 1 << 20;

export class PendingSet {
  readonly #runtimeFolder: string;
  readonly #diskFolder: string;
  readonly #folder: string;
  readonly #bitmapBytes: number;
  readonly #blockCount: number;
  #state: PendingState | undefined;

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
    // As a numbered file it is dropped with the others, and the new carry is never touched by us.
    const epoch = this.#advance();
    const carry = join(this.#folder, CARRY);
    if (existsSync(carry)) renameSync(carry, join(this.#folder, `${epoch}.bits`));
    this.#ensureFile(carry);
  }

  /**
   * Opens the file for the next collect.
   * @returns Every file that the collect must put its bits into: this set's, the carry of each
   *   other repository whose set belongs to the same session, and the recent bits of all.
   */
  beginEpoch(): string[] {
    const file = this.#ensureFile(join(this.#folder, `${this.#advance()}.bits`));
    return [file, ...this.#carries(), this.#ensureFile(this.#recent)];
  }

  /**
   * Puts the blocks that were collected since `forgetRecent` into all sets once more, to be read again.
   * To be called after a collect, when the hooks turn out to have missed the end of a write.
   */
  addRecent(): void {
    const files = [join(this.#folder, `${this.epoch}.bits`), ...this.#carries()];
    const targets = files.map((path) => openSync(path, constants.O_RDWR | constants.O_NOFOLLOW));
    try {
      this.#readPieces(this.#recent, (piece, at) => {
        for (const target of targets) addBits(target, piece, at);
      });
    } finally {
      for (const target of targets) closeSync(target);
    }
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
    for (const { name } of this.#files()) this.#readFile(join(this.#folder, name), blocks);
    return blocks;
  }

  /** The blocks of the newest collect alone. */
  readEpoch(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    this.#readFile(join(this.#folder, `${this.epoch}.bits`), blocks);
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

  /** Makes a file of zero bits, all of it a hole, unless it is there already. */
  #ensureFile(path: string): string {
    const { O_CREAT, O_WRONLY, O_NOFOLLOW } = constants;
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    const descriptor = openSync(path, O_CREAT | O_WRONLY | O_NOFOLLOW, 0o600);
    try {
      ftruncateSync(descriptor, this.#bitmapBytes);
    } finally {
      closeSync(descriptor);
    }
    return path;
  }

  #files(): { name: string; epoch: number }[] {
    return readdirSync(this.#folder)
      .filter((name) => /^[0-9]+\.bits$/.test(name))
      .map((name) => ({ name, epoch: Number.parseInt(name, 10) }));
  }

  #readFile(path: string, into: BlockSet): void {
    this.#readPieces(path, (piece, at) => into.addBitmap(at / 8, piece));
  }

  /** Calls `take` with whole words, and where in the file they are. */
  #readPieces(path: string, take: (piece: Uint8Array, at: number) => void): void {
    const { size } = statSync(path);
    // Whoever made it was killed before it had its size, so before any bit was put into it.
    if (size === 0) return;
    assert(size === this.#bitmapBytes, `${path} has the size of the bitmap`);
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#bitmapBytes));
    try {
      for (let at = 0; at < this.#bitmapBytes; ) {
        const got = readSync(descriptor, piece, 0, piece.length, at);
        assert(got > 0 && got % 8 === 0, "a pending file is read in whole words");
        take(piece.subarray(0, got), at);
        at += got;
      }
    } finally {
      closeSync(descriptor);
    }
  }
}

/** In place: cut off anywhere, it has added bits and taken none away. */
function addBits(descriptor: number, bits: Uint8Array, at: number): void {
  if (bits.every((byte) => byte === 0)) return;
  const both = new Uint8Array(bits.length);
  assert(readSync(descriptor, both, 0, both.length, at) === both.length, "the files are as long");
  for (const [i, byte] of bits.entries()) both[i] = (both[i] ?? 0) | byte;
  assert(writeSync(descriptor, both, 0, both.length, at) === both.length, "tmpfs writes it all");
}
