/** The id and the bytes of a partition table: two of the things a disk is known by. */
import { createHash } from "node:crypto";
import { closeSync, constants, openSync, readSync } from "node:fs";
import { alignedBytes } from "../runtime/aligned.ts";

/** Enough for a protective MBR, the GPT header and its 128 entries, at 512 or 4096-byte sectors. */
const TABLE_BYTES = 65_536;

/**
 * The disk GUID of a GPT, or the signature of an MBR that has partitions.
 * @returns Undefined when there is neither, or the disk cannot be read.
 */
export function readPartitionTableId(path: string): string | undefined {
  const head = readHead(path, TABLE_BYTES);
  return head === undefined ? undefined : partitionTableIdOf(head);
}

/** SHA-256 of the partition table in lower-case hex, or null when the disk has none. */
export function hashPartitionTable(path: string): string | null {
  const head = readHead(path, TABLE_BYTES);
  if (head === undefined || partitionTableIdOf(head) === undefined) return null;
  const end = gptHeaderAt(head) === undefined ? 512 : Math.min(head.length, 34 * 512);
  return createHash("sha256").update(head.subarray(0, end)).digest("hex");
}

/** @param head The first bytes of a disk. Pure. */
export function partitionTableIdOf(head: Uint8Array): string | undefined {
  const gpt = gptHeaderAt(head);
  if (gpt !== undefined) return formatGuid(head.subarray(gpt + 56, gpt + 72));
  if (!hasMbrPartitions(head)) return undefined;
  const signature = new DataView(head.buffer, head.byteOffset).getUint32(440, true);
  return signature === 0 ? undefined : signature.toString(16).padStart(8, "0");
}

function gptHeaderAt(head: Uint8Array): number | undefined {
  const magic = new TextEncoder().encode("EFI PART");
  return [512, 4096].find(
    (at) => head.length >= at + 92 && magic.every((byte, i) => head[at + i] === byte),
  );
}

/**
 * A boot sector of FAT or NTFS also ends in 55 AA and has code where an MBR has its table, so the
 * four entries must make sense as well: status 00 or 80, and at least one with type and length.
 */
function hasMbrPartitions(head: Uint8Array): boolean {
  if (head.length < 512 || head[510] !== 0x55 || head[511] !== 0xaa) return false;
  const view = new DataView(head.buffer, head.byteOffset);
  let used = 0;
  for (let at = 446; at < 510; at += 16) {
    const status = view.getUint8(at);
    if (status !== 0 && status !== 0x80) return false;
    if (view.getUint8(at + 4) !== 0 && view.getUint32(at + 12, true) !== 0) used++;
  }
  return used > 0;
}

/** GUIDs are stored with their first three fields little-endian. */
function formatGuid(bytes: Uint8Array): string {
  const hex = (indexes: number[]): string =>
    indexes.map((i) => (bytes[i] ?? 0).toString(16).padStart(2, "0")).join("");
  return [
    [3, 2, 1, 0],
    [5, 4],
    [7, 6],
    [8, 9],
    [10, 11, 12, 13, 14, 15],
  ]
    .map(hex)
    .join("-");
}

/**
 * The first bytes of a device.
 * @param bytesMax A multiple of 4096.
 * @returns Undefined when it cannot be read.
 */
export function readHead(path: string, bytesMax: number): Uint8Array | undefined {
  let descriptor: number;
  try {
    // O_DIRECT: the page cache of a block device does not see what a file system writes.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECT);
  } catch {
    // Whether the disk can be read is for the backup itself to say; here it has no known id.
    return undefined;
  }
  try {
    const bytes = alignedBytes(bytesMax);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, bytesMax, 0));
  } catch {
    return undefined;
  } finally {
    closeSync(descriptor);
  }
}
