/**
 * What a disk may hold after a power cut: made from the log of its writes and flushes that
 * `scripts/guest --write-log` keeps. The format is that of the kernel's dm-log-writes.
 *
 * What was written before a flush that has ended is on the disk. Of what was written since, any
 * part may be there, in any order: the disk had it in its cache.
 */
import { Buffer } from "node:buffer";
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import type { Random } from "./random.ts";

const MAGIC = 0x6a_736677_736872n;
const FLUSH = 1;
const FUA = 2;
const DISCARD = 4;

export interface LogEntry {
  offsetBytes: number;
  lengthBytes: number;
  isFlush: boolean;
  isDurable: boolean;
  isDiscard: boolean;
  /** Where its data stand in the log. */
  dataAt: number;
}

export class WriteLog {
  readonly entries: LogEntry[] = [];
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
    const descriptor = openSync(path, "r");
    try {
      const { sectorBytes, entryCount } = readHeader(descriptor);
      for (let at = sectorBytes; this.entries.length < entryCount; ) {
        const head = readAt(descriptor, at, 32);
        const flags = Number(head.readBigUInt64LE(16));
        const entry = {
          offsetBytes: Number(head.readBigUInt64LE(0)) * sectorBytes,
          lengthBytes: Number(head.readBigUInt64LE(8)) * sectorBytes,
          isFlush: (flags & FLUSH) !== 0,
          isDurable: (flags & FUA) !== 0,
          isDiscard: (flags & DISCARD) !== 0,
          dataAt: at + sectorBytes,
        };
        this.entries.push(entry);
        at = entry.dataAt + (entry.isDiscard ? 0 : entry.lengthBytes);
      }
    } finally {
      closeSync(descriptor);
    }
  }

  /** The data that an entry wrote; zeroes for a discard. */
  dataOf(entry: LogEntry): Buffer {
    if (entry.isDiscard) return Buffer.alloc(entry.lengthBytes);
    const descriptor = openSync(this.#path, "r");
    try {
      return readAt(descriptor, entry.dataAt, entry.lengthBytes);
    } finally {
      closeSync(descriptor);
    }
  }

  /** Does to an image what these entries did to the disk. */
  apply(image: string, entries: readonly LogEntry[]): void {
    const descriptor = openSync(image, "r+");
    try {
      for (const entry of entries) {
        const data = this.dataOf(entry);
        writeSync(descriptor, data, 0, data.length, entry.offsetBytes);
      }
    } finally {
      closeSync(descriptor);
    }
  }

  /** How many of the first `cut` entries are on the disk for certain when the power goes then. */
  durableCount(cut: number): number {
    return this.entries.slice(0, cut).findLastIndex(({ isFlush }) => isFlush) + 1;
  }

  /** Of the entries from `durable` to `cut`, some: those that the disk got round to. */
  survivors(durable: number, cut: number, random: Random): LogEntry[] {
    const pending = this.entries.slice(durable, cut);
    // All, none or some of them, each in its turn.
    const percent = [0, 100, random.below(100)][random.below(3)] ?? 0;
    return pending.filter(({ isDurable }) => isDurable || random.below(100) < percent);
  }
}

function readHeader(descriptor: number): { sectorBytes: number; entryCount: number } {
  const head = readAt(descriptor, 0, 28);
  if (head.readBigUInt64LE(0) !== MAGIC) throw new Error("not a log of writes");
  return { entryCount: Number(head.readBigUInt64LE(16)), sectorBytes: head.readUInt32LE(24) };
}

function readAt(descriptor: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const got = readSync(descriptor, bytes, 0, length, at);
  if (got !== length) throw new Error(`the log ends at ${at + got}, within an entry`);
  return bytes;
}
