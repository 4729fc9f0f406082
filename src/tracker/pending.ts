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
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { BlockSet } from "../core/block_set.ts";
import { assert, systemCodeOf } from "../errors.ts";

const taints = z.record(z.string(), z.number());

const stateSchema = z.strictObject({
  version: z.literal(1),
  bootId: z.string(),
  /** The session's id and the attachment's. */
  session: z.string(),
  diskSequence: z.number().optional(),
  sizeBytes: z.number(),
  /** As they were when the parent's blocks were first collected. */
  taints,
  /** The backup that this set continues; null before the first. */
  parentId: z.string().nullable(),
  /** Counts collects; the number of the newest file. */
  epoch: z.number(),
  /**
   * A backup that may have been committed when this machine or ibackup stopped: if the repository
   * has it, it is the parent, and only files from `firstEpoch` on are still needed.
   */
  committing: z.strictObject({ backupId: z.string(), firstEpoch: z.number(), taints }).nullable(),
});

export type PendingState = z.infer<typeof stateSchema>;

export interface PendingPlace {
  /** The validated folder for what lives until the next boot. */
  runtimeFolder: string;
  range: { wholeDisk: { major: number; minor: number }; startSector: number };
  repositoryId: string;
}

const CARRY = "carry.bits";
const PIECE_BYTES = 1 << 20;

export class PendingSet {
  readonly #diskFolder: string;
  readonly #folder: string;
  readonly #bitmapBytes: number;
  readonly #blockCount: number;
  #state: PendingState | undefined;

  constructor({ runtimeFolder, range, repositoryId }: PendingPlace, blockCount: number) {
    assert(/^[0-9a-z-]+$/i.test(repositoryId), "a repository id is a plain file name");
    const { major, minor } = range.wholeDisk;
    this.#diskFolder = join(runtimeFolder, "pending", `${major}-${minor}-${range.startSector}`);
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
  reset(state: Omit<PendingState, "version" | "epoch" | "committing" | "parentId">): void {
    rmSync(this.#folder, { recursive: true, force: true });
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#ensureFile(join(this.#folder, CARRY));
    this.#write({ version: 1, ...state, parentId: null, epoch: 0, committing: null });
  }

  /**
   * To be called at the start of a flush: completes the commit of a backup that turns out to be in
   * the repository, and takes over what other repositories' flushes have collected.
   */
  begin(newestId: string | undefined): void {
    const { committing } = this.#current();
    if (committing !== null && committing.backupId === newestId) this.#finishCommit();
    else this.#write({ ...this.#current(), committing: null });
    // As a numbered file it is dropped with the others, and the new carry is never touched by us.
    const epoch = this.#advance();
    const carry = join(this.#folder, CARRY);
    if (existsSync(carry)) renameSync(carry, join(this.#folder, `${epoch}.bits`));
    this.#ensureFile(carry);
  }

  /**
   * Opens the file for the next collect.
   * @returns Every file that the collect must put its bits into: this set's, and the carry of each
   *   other repository whose set belongs to the same session.
   */
  beginEpoch(): string[] {
    const { session } = this.#current();
    const file = this.#ensureFile(join(this.#folder, `${this.#advance()}.bits`));
    const others = readdirSync(this.#diskFolder)
      .map((name) => join(this.#diskFolder, name))
      .filter((folder) => folder !== this.#folder)
      .filter((folder) => readState(folder)?.session === session)
      .map((folder) => this.#ensureFile(join(folder, CARRY)));
    return [file, ...others];
  }

  get epoch(): number {
    return this.#current().epoch;
  }

  /** The blocks of every numbered file: all that was collected for this repository. */
  read(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    for (const { name } of this.#files()) this.#readFile(name, blocks);
    return blocks;
  }

  /** The blocks of the newest collect alone. */
  readEpoch(): BlockSet {
    const blocks = new BlockSet(this.#blockCount);
    this.#readFile(`${this.epoch}.bits`, blocks);
    return blocks;
  }

  /** To be called right before the manifest is put. */
  prepareCommit(committing: NonNullable<PendingState["committing"]>): void {
    this.#write({ ...this.#current(), committing });
  }

  /** To be called when the manifest is there: drops the files whose blocks it holds. */
  commit(): void {
    this.#finishCommit();
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
    const temporary = join(this.#folder, ".state.json");
    writeFileSync(temporary, JSON.stringify(state), { mode: 0o600 });
    renameSync(temporary, join(this.#folder, "state.json"));
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

  #readFile(name: string, into: BlockSet): void {
    const path = join(this.#folder, name);
    const { size } = statSync(path);
    // Whoever made it was killed before it had its size, so before any bit was put into it.
    if (size === 0) return;
    assert(size === this.#bitmapBytes, `${name} has the size of the bitmap`);
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#bitmapBytes));
    try {
      for (let at = 0; at < this.#bitmapBytes; ) {
        const got = readSync(descriptor, piece, 0, piece.length, at);
        assert(got > 0 && got % 8 === 0, "a pending file is read in whole words");
        into.addBitmap(at / 8, piece.subarray(0, got));
        at += got;
      }
    } finally {
      closeSync(descriptor);
    }
  }
}

/** The state in a folder, or undefined when it is missing or makes no sense. */
function readState(folder: string): PendingState | undefined {
  let text: string;
  try {
    text = readFileSync(join(folder, "state.json"), "utf8");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch {
    // Not trusted means compared: that is the answer to a damaged state too.
    return undefined;
  }
}
