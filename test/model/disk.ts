/** A small loop disk that nobody else writes to, and a shadow of all that was written to it. */
import { Buffer } from "node:buffer";
import {
  closeSync,
  constants,
  fsyncSync,
  openSync,
  readFileSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { alignedBytes } from "../../src/runtime/aligned.ts";
import { type Machine, run } from "../support/machine.ts";

export const SECTOR_BYTES = 512;

/** One write. Zeroes are told by their number. */
export interface Change {
  offset: number;
  bytes: Uint8Array;
}

/** What became of the disk while something ran. */
export interface Recorded {
  before: Buffer;
  /** One after another: each began when the one before it had ended. */
  changes: Change[];
}

export class ModelDisk {
  readonly #machine: Machine;
  readonly #image: string;
  /** Open as long as it can be, for the last one to close it writes everything out. */
  #buffered: number | undefined;
  #recorded: Change[] | undefined;
  device: string;
  /** What the disk holds, as far as this class wrote it: all of it. */
  shadow: Buffer;

  constructor(machine: Machine, image: string, sizeBytes: number) {
    this.#machine = machine;
    this.#image = image;
    this.shadow = Buffer.alloc(sizeBytes);
    writeFileSync(image, this.shadow);
    machine.onClose(() => this.#closeBuffered());
    this.device = machine.attach(image);
  }

  get sizeBytes(): number {
    return this.shadow.length;
  }

  /** Past the page cache: whole sectors. */
  writeDirect(change: Change): void {
    const bytes = aligned(change);
    this.#note(change);
    const descriptor = openSync(this.device, constants.O_RDWR | constants.O_DIRECT);
    try {
      writeFully(descriptor, { ...change, bytes });
    } finally {
      closeSync(descriptor);
    }
  }

  /** Like `writeDirect`, one after another, and other things go on meanwhile. */
  async writeDirectSlowly(changes: AsyncIterable<Change>): Promise<void> {
    const file = await open(this.device, constants.O_RDWR | constants.O_DIRECT);
    try {
      for await (const change of changes) {
        const bytes = aligned(change);
        this.#note(change);
        const { bytesWritten } = await file.write(bytes, 0, bytes.length, change.offset);
        if (bytesWritten !== bytes.length) throw new Error(`wrote ${bytesWritten} bytes`);
      }
    } finally {
      await file.close();
    }
  }

  /** Into the page cache: any bytes. The disk has them at the next sync, or earlier. */
  writeBuffered(change: Change): void {
    this.#note(change);
    this.#buffered ??= openSync(this.device, "r+");
    writeFully(this.#buffered, change);
  }

  /** Through a mapping of the page cache. */
  writeMapped({ offset, bytes }: Change): void {
    const value = bytes[0] ?? 0;
    this.#note({ offset, bytes: bytes.slice().fill(value) });
    const start = offset - (offset % 4096);
    const length = offset + bytes.length - start;
    const map = ["-c", `mmap -rw ${start} ${length}`];
    const write = ["-c", `mwrite -S ${value} ${offset} ${bytes.length}`, "-c", "msync -s"];
    run("xfs_io", ...map, ...write, "-c", "munmap", this.device);
  }

  /** Whole sectors, by a discard or by a write of zeroes: both leave zeroes on a loop disk. */
  clear(how: "discard" | "write zeroes", offset: number, length: number): void {
    // What is in the page cache may be written out at any time, so it has to be there first.
    this.sync();
    this.#note({ offset, bytes: new Uint8Array(length) });
    const options = how === "discard" ? [] : ["-z"];
    run("blkdiscard", "-f", ...options, "-o", `${offset}`, "-l", `${length}`, this.device);
  }

  sync(): void {
    if (this.#buffered !== undefined) fsyncSync(this.#buffered);
  }

  /** Takes the disk away and brings it back, changed meanwhile or not; its name may be another. */
  reattach(changes: readonly Change[]): void {
    this.#closeBuffered();
    run("losetup", "-d", this.device);
    const descriptor = openSync(this.#image, "r+");
    try {
      for (const change of changes) {
        this.#note(change);
        writeFully(descriptor, change);
      }
    } finally {
      closeSync(descriptor);
    }
    this.device = this.#machine.attach(this.#image);
  }

  grow(sizeBytes: number): void {
    this.sync();
    truncateSync(this.#image, sizeBytes);
    run("losetup", "-c", this.device);
    this.shadow = Buffer.concat([this.shadow], sizeBytes);
  }

  /** Notes all that is written while the work is done. */
  async record<T>(work: () => Promise<T>): Promise<Recorded & { result: T }> {
    const before = Buffer.from(this.shadow);
    const changes: Change[] = [];
    this.#recorded = changes;
    try {
      return { result: await work(), before, changes };
    } finally {
      this.#recorded = undefined;
    }
  }

  /** @throws Error when the disk does not hold what the shadow holds: then the model is wrong. */
  check(): void {
    this.sync();
    const difference = firstDifferenceOf(readFileSync(this.#image), this.shadow);
    if (difference >= 0) throw new Error(`the shadow is not the disk at byte ${difference}`);
  }

  #note(change: Change): void {
    this.#recorded?.push(change);
    this.shadow.set(change.bytes, change.offset);
  }

  #closeBuffered(): void {
    if (this.#buffered !== undefined) closeSync(this.#buffered);
    this.#buffered = undefined;
  }
}

/** The number of the first byte in which they differ, also in length; -1 when they are the same. */
export function firstDifferenceOf(left: Uint8Array, right: Uint8Array): number {
  if (Buffer.compare(left, right) === 0) return -1;
  const end = Math.min(left.length, right.length);
  for (let i = 0; i < end; i++) if (left[i] !== right[i]) return i;
  return end;
}

function aligned({ offset, bytes }: Change): Uint8Array {
  if (offset % SECTOR_BYTES !== 0 || bytes.length % SECTOR_BYTES !== 0) {
    throw new Error(`a direct write of ${bytes.length} bytes at ${offset}`);
  }
  // A small array would not start at a page.
  const copy = alignedBytes(1 << 20).subarray(0, bytes.length);
  copy.set(bytes);
  return copy;
}

function writeFully(descriptor: number, { offset, bytes }: Change): void {
  const count = writeSync(descriptor, bytes, 0, bytes.length, offset);
  if (count !== bytes.length) throw new Error(`wrote ${count} of ${bytes.length} bytes`);
}
