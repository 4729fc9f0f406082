/** What lies on a block device, as far as its first bytes and the kernel tell. */
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../core/units.ts";
import { partitionTableIdOf, readHead } from "./partition_table.ts";

/** All that is looked at: btrfs has its superblock at 64 KiB. */
const HEAD_BYTES = 72 << 10;
const TEXT = new TextDecoder();

interface Signature {
  what: string;
  /** Where it stands, and the bytes there, as Latin-1. */
  at: number;
  magic: string;
  label?: { at: number; bytes: number };
}

/** In this order: what wraps others comes before what it may resemble. */
const SIGNATURES: readonly Signature[] = [
  { what: "LUKS, encrypted", at: 0, magic: "LUKS\xba\xbe" },
  { what: "LVM", at: 512 + 24, magic: "LVM2 001" },
  { what: "RAID member", at: 0, magic: "\xfc\x4e\x2b\xa9" },
  { what: "RAID member", at: 4096, magic: "\xfc\x4e\x2b\xa9" },
  { what: "xfs", at: 0, magic: "XFSB", label: { at: 108, bytes: 12 } },
  { what: "btrfs", at: 0x1_0040, magic: "_BHRfS_M", label: { at: 0x1_012b, bytes: 256 } },
  { what: "ntfs", at: 3, magic: "NTFS    " },
  { what: "exfat", at: 3, magic: "EXFAT   " },
  { what: "vfat", at: 0x52, magic: "FAT32   ", label: { at: 0x47, bytes: 11 } },
  { what: "vfat", at: 0x36, magic: "FAT1", label: { at: 0x2b, bytes: 11 } },
  { what: "squashfs", at: 0, magic: "hsqs" },
  { what: "f2fs", at: 1024, magic: "\x10\x20\xf5\xf2" },
  { what: "iso9660", at: 0x8001, magic: "CD001", label: { at: 0x8028, bytes: 32 } },
  { what: "swap", at: 4096 - 10, magic: "SWAPSPACE2", label: { at: 1052, bytes: 16 } },
  { what: "ext", at: 1024 + 56, magic: "\x53\xef", label: { at: 1024 + 120, bytes: 16 } },
];

/** File systems and the like, and the partitions, in words; none where nothing was recognised. */
export function contentsOf(path: string, name: string): string[] {
  return [...contentsAt(path), ...partitionsOf(name)];
}

function contentsAt(path: string): string[] {
  const head = readHead(path, HEAD_BYTES);
  return head === undefined ? ["cannot be read"] : recogniseContents(head);
}

/** @param head The first bytes of a device. Pure. */
export function recogniseContents(head: Uint8Array): string[] {
  const found = SIGNATURES.find(({ at, magic }) =>
    [...magic].every((character, i) => head[at + i] === character.charCodeAt(0)),
  );
  if (found !== undefined) {
    const label = labelIn(head, found.label);
    const what = found.what === "ext" ? extVersion(head) : found.what;
    return [label === "" ? what : `${what} "${label}"`];
  }
  return partitionTableIdOf(head) === undefined ? [] : ["partition table"];
}

/** An ext4 has extents, or another feature that came with it; an ext3 has only a journal. */
function extVersion(head: Uint8Array): string {
  const view = new DataView(head.buffer, head.byteOffset);
  const [compatible, incompatible] = [view.getUint32(1024 + 92, true), view.getUint32(1120, true)];
  const isExt4 = (incompatible & 0x2c0) !== 0;
  return isExt4 ? "ext4" : (compatible & 0x4) !== 0 ? "ext3" : "ext2";
}

function labelIn(head: Uint8Array, label: Signature["label"]): string {
  if (label === undefined) return "";
  const [text = ""] = TEXT.decode(head.subarray(label.at, label.at + label.bytes)).split("\0");
  // Whoever made the file system chose it.
  const shown = text.replaceAll(/\p{C}/gu, "?").trim();
  return shown === "NO NAME" ? "" : shown;
}

/** The partitions that the kernel sees: "vda1: ext4 \"root\", 8 GiB". */
function partitionsOf(name: string): string[] {
  const folder = realpathSync(join("/sys/class/block", name));
  return readdirSync(folder)
    .filter((child) => existsSync(join(folder, child, "partition")))
    .map((child) => {
      const bytes = Number(readFileSync(join(folder, child, "size"), "utf8")) * 512;
      const contents = contentsAt(`/dev/${child.replaceAll("!", "/")}`);
      return `${child}: ${[...contents, formatBytes(bytes)].join(", ")}`;
    });
}
