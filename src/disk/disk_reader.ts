/** Reads blocks of a disk with O_DIRECT, several reads in flight. */
import { constants, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import type { BlockExtent } from "../core/extent.ts";
import { type DiskRead, planDiskReads } from "../core/read_plan.ts";
import { assert, IbackupError, messageOf } from "../errors.ts";
import { alignedBytes } from "../runtime/aligned.ts";

const BYTES_PER_READ = 1 << 20;
/**
 * Reading this much along takes about as long as one more read: less where few blocks are wanted,
 * more where many are. docs/FIGURES.md has the measurement.
 */
const GAP_BYTES = 32 << 10;
/** Scattered blocks want many reads in flight; of long reads a few keep every disk busy. */
const READS_IN_FLIGHT = 32;
const BYTES_IN_FLIGHT = 8 << 20;
/** Reads no longer than this get a buffer of this size. */
const SMALL_READ_BYTES = 64 << 10;

/** A run of blocks and what is in them. */
export interface BlockRun extends BlockExtent {
  bytes: Uint8Array;
}

interface PendingRead {
  read: DiskRead;
  buffer: Uint8Array;
  filled: Promise<void>;
}

export interface DiskReader {
  readonly blockBytes: number;
  /** The last block may reach past the end of the disk; those bytes read as zeroes. */
  readonly blockCount: number;
  /** Bytes read from the disk so far, gaps that were read along included. */
  readonly bytesRead: number;
  /**
   * Reads the extents, several reads ahead, and gives their content in ascending order.
   * The bytes of a run are lent until the next one is asked for.
   *
   * @param extents Ascending and disjoint.
   */
  read(extents: Iterable<BlockExtent>, signal?: AbortSignal): AsyncGenerator<BlockRun, void>;
  /** Reads one extent into `bytes`, which must be aligned memory of its length. */
  readInto(extent: BlockExtent, bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/**
 * @param disk A block device, or an image file where the runtime allows it.
 * @throws IbackupError NOT_PERMITTED or IO.
 */
export async function openDiskReader(
  disk: { path: string; sizeBytes: number },
  blockBytes: number,
): Promise<DiskReader> {
  try {
    // Never through the page cache: that of a block device does not see what a file system writes.
    const direct = statSync(disk.path).isBlockDevice() ? constants.O_DIRECT : 0;
    const handle = await open(disk.path, constants.O_RDONLY | direct);
    return new DirectReader(handle, disk, blockBytes);
  } catch (error) {
    const denied = ["EACCES", "EPERM"].includes((error as { code?: string }).code ?? "");
    throw new IbackupError(denied ? "NOT_PERMITTED" : "IO", `Cannot open "${disk.path}"`, {
      why: messageOf(error),
      fix: denied ? "run ibackup as root" : "check the device with `lsblk` and `dmesg`",
      cause: error,
    });
  }
}

class DirectReader implements DiskReader {
  readonly blockBytes: number;
  readonly blockCount: number;
  bytesRead = 0;
  readonly #handle: FileHandle;
  readonly #disk: { path: string; sizeBytes: number };
  readonly #smallBuffers: Uint8Array[] = [];
  readonly #largeBuffers: Uint8Array[] = [];

  constructor(handle: FileHandle, disk: { path: string; sizeBytes: number }, blockBytes: number) {
    this.#handle = handle;
    this.#disk = disk;
    this.blockBytes = blockBytes;
    this.blockCount = Math.ceil(disk.sizeBytes / blockBytes);
  }

  async *read(
    extents: Iterable<BlockExtent>,
    signal?: AbortSignal,
  ): AsyncGenerator<BlockRun, void> {
    const reads = planDiskReads(extents, {
      blocksPerRead: Math.max(1, Math.floor(BYTES_PER_READ / this.blockBytes)),
      gapBlocks: Math.floor(GAP_BYTES / this.blockBytes),
    });
    const inFlight: PendingRead[] = [];
    let bytesInFlight = 0;
    try {
      for (const read of reads) {
        signal?.throwIfAborted();
        const lengthBytes = read.blockCount * this.blockBytes;
        while (isBusy(inFlight.length, bytesInFlight + lengthBytes)) {
          bytesInFlight -= (inFlight[0]?.read.blockCount ?? 0) * this.blockBytes;
          yield* this.#finish(inFlight);
        }
        bytesInFlight += lengthBytes;
        inFlight.push(this.#begin(read));
      }
      while (inFlight.length > 0) yield* this.#finish(inFlight);
    } finally {
      // The kernel still writes into the buffers of reads that nobody waits for any more.
      await Promise.allSettled(inFlight.map(({ filled }) => filled));
      for (const { buffer } of inFlight) this.#giveBack(buffer);
    }
  }

  async readInto(extent: BlockExtent, bytes: Uint8Array): Promise<void> {
    assert(bytes.length === extent.blockCount * this.blockBytes, "a buffer fits its extent");
    await this.#fill(bytes, extent);
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }

  #begin(read: DiskRead): PendingRead {
    const lengthBytes = read.blockCount * this.blockBytes;
    const buffer = this.#takeBuffer(lengthBytes);
    const filled = this.#fill(buffer.subarray(0, lengthBytes), read);
    // Reported where it is awaited; until then it must not count as unhandled.
    filled.catch(() => undefined);
    return { read, buffer, filled };
  }

  /** Waits for the oldest read and gives its wanted runs. */
  async *#finish(inFlight: PendingRead[]): AsyncGenerator<BlockRun, void> {
    const oldest = inFlight[0];
    assert(oldest !== undefined, "there is a read to wait for");
    await oldest.filled;
    inFlight.shift();
    try {
      for (const { firstBlock, blockCount } of oldest.read.wanted) {
        const from = (firstBlock - oldest.read.firstBlock) * this.blockBytes;
        const bytes = oldest.buffer.subarray(from, from + blockCount * this.blockBytes);
        yield { firstBlock, blockCount, bytes };
      }
    } finally {
      // Also where nobody asks for the rest, as when a freeze has to end.
      this.#giveBack(oldest.buffer);
    }
  }

  #giveBack(buffer: Uint8Array): void {
    const isSmall = buffer.length === SMALL_READ_BYTES;
    (isSmall ? this.#smallBuffers : this.#largeBuffers).push(buffer);
  }

  #takeBuffer(lengthBytes: number): Uint8Array {
    if (lengthBytes <= SMALL_READ_BYTES) {
      return this.#smallBuffers.pop() ?? alignedBytes(SMALL_READ_BYTES);
    }
    const largeBytes = Math.max(BYTES_PER_READ, this.blockBytes);
    return this.#largeBuffers.pop() ?? alignedBytes(largeBytes);
  }

  /** Fills `bytes` from the disk; what lies past its end is zero. */
  async #fill(bytes: Uint8Array, read: BlockExtent): Promise<void> {
    const offset = read.firstBlock * this.blockBytes;
    const onDisk = Math.min(bytes.length, this.#disk.sizeBytes - offset);
    assert(onDisk > 0, "a read begins on the disk");
    bytes.fill(0, onDisk);
    let done = 0;
    while (done < onDisk) {
      const got = await this.#readAt(bytes.subarray(done, onDisk), offset + done);
      done += got;
    }
    this.bytesRead += onDisk;
  }

  async #readAt(bytes: Uint8Array, offset: number): Promise<number> {
    const what = `Cannot read "${this.#disk.path}" at byte ${offset}, length ${bytes.length}`;
    let bytesRead: number;
    try {
      ({ bytesRead } = await this.#handle.read(bytes, 0, bytes.length, offset));
    } catch (error) {
      throw new IbackupError("IO", what, {
        why: messageOf(error),
        fix: "look for errors of the disk with `dmesg`; nothing was committed",
        cause: error,
      });
    }
    if (bytesRead === 0) {
      throw new IbackupError("IO", what, {
        why: "the device ended early: it has shrunk or gone",
        fix: "check it with `lsblk`, then run the command again",
      });
    }
    return bytesRead;
  }
}

function isBusy(readCount: number, bytes: number): boolean {
  return readCount > 0 && (readCount >= READS_IN_FLIGHT || bytes > BYTES_IN_FLIGHT);
}
