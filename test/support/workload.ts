/** Writes of every kind into a mounted file system, and what its files then hold. */
import { Buffer } from "node:buffer";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { run } from "./machine.ts";
import type { Random } from "./random.ts";
import { filesBelow } from "./site.ts";

/** What a file system cannot do; the workload does without. */
export type Lack = "punch" | "trim";

const FILE_COUNT = 24;

/** Files to begin with. */
export function populate(folder: string, random: Random): void {
  mkdirSync(join(folder, "files"));
  for (let i = 0; i < FILE_COUNT; i++) {
    writeFileSync(fileOf(folder, i), random.bytes(1 + random.below(512 << 10)));
  }
  writeFileSync(join(folder, "large"), random.bytes(8 << 20));
  run("sync", "-f", folder);
}

/** One of each kind of write, in places that `random` chooses. */
export function scribble(folder: string, random: Random, lacks: readonly Lack[] = []): void {
  const large = join(folder, "large");
  const page = (): number => 4096 * random.below(2000);
  for (let i = 0; i < 6; i++) {
    const file = fileOf(folder, random.below(FILE_COUNT));
    writeFileSync(`${file}-new`, random.bytes(1 + random.below(300_000)));
    appendFileSync(file, random.bytes(1 + random.below(20_000)));
    overwrite(large, random.below(8_000_000), random.bytes(1 + random.below(5000)));
    const pattern = `-S 0x${(1 + random.below(255)).toString(16)}`;
    run("xfs_io", "-d", "-c", `pwrite -q ${pattern} -b 64k ${page()} 64k`, large);
    const mapped = page();
    const map = ["-c", `mmap -rw ${mapped} 64k`, "-c", `mwrite ${pattern} ${mapped + 100} 9000`];
    run("xfs_io", ...map, "-c", "munmap", large);
  }
  run("xfs_io", "-s", "-c", `pwrite -q -S 0x21 ${random.below(8_000_000)} 1`, large);
  truncateSync(fileOf(folder, 0), 1 + random.below(1000));
  truncateSync(fileOf(folder, 1), 700_000);
  if (!lacks.includes("punch")) {
    run("fallocate", "-p", "-o", String(page()), "-l", "256K", large);
    run("fallocate", "-z", "-o", String(page()), "-l", "64K", large);
  }
  for (let i = 2; i < 8; i++) unlinkSync(fileOf(folder, i));
  for (let i = 2; i < 8; i++) writeFileSync(fileOf(folder, i), random.bytes(5000));
  writeFileSync(join(folder, "gone"), random.bytes(3 << 20));
  run("sync", "-f", folder);
  unlinkSync(join(folder, "gone"));
  run("sync", "-f", folder);
  if (!lacks.includes("trim")) run("fstrim", folder);
}

/** A digest of the names and contents of all files. */
export function treeDigest(folder: string): string {
  const hash = createHash("sha256");
  for (const name of filesBelow(folder)) {
    const content = createHash("sha256").update(readFileSync(join(folder, name)));
    hash.update(`${name} ${content.digest("hex")}\n`);
  }
  return hash.digest("hex");
}

/** Fails with what the checker said when the file system on the device is not sound. */
export function checkFileSystem(kind: string, device: string): void {
  const checkers: Record<string, string[]> = {
    ext2: ["e2fsck", "-fn"],
    ext4: ["e2fsck", "-fn"],
    xfs: ["xfs_repair", "-n"],
    btrfs: ["btrfs", "check", "--readonly"],
    vfat: ["fsck.vfat", "-n"],
  };
  const [program = "false", ...options] = checkers[kind] ?? [];
  const { status, stdout, stderr } = spawnSync(program, [...options, device], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ${device}: status ${status}\n${stdout}${stderr}`);
}

const PIECE_BYTES = 1 << 20;

/** The blocks of 4 KiB in which two images of one size differ. */
export function differingBlocks(before: string, after: string): number[] {
  const descriptors = [openSync(before, "r"), openSync(after, "r")] as const;
  const [left, right] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)];
  const blocks: number[] = [];
  try {
    for (let at = 0; ; at += PIECE_BYTES) {
      const got = readSync(descriptors[0], left, 0, PIECE_BYTES, at);
      if (readSync(descriptors[1], right, 0, PIECE_BYTES, at) !== got) throw new Error("two sizes");
      if (got === 0) return blocks;
      const different = differingIn(left.subarray(0, got), right.subarray(0, got));
      blocks.push(...different.map((block) => at / 4096 + block));
    }
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

function differingIn(left: Buffer, right: Buffer): number[] {
  if (left.equals(right)) return [];
  const blocks = Array.from({ length: Math.ceil(left.length / 4096) }, (_, block) => block);
  return blocks.filter((block) => {
    const [start, end] = [block * 4096, (block + 1) * 4096];
    return !left.subarray(start, end).equals(right.subarray(start, end));
  });
}

function fileOf(folder: string, index: number): string {
  return join(folder, "files", `file-${index}`);
}

function overwrite(path: string, offset: number, bytes: Uint8Array): void {
  const descriptor = openSync(path, "r+");
  try {
    writeSync(descriptor, bytes, 0, bytes.length, offset);
  } finally {
    closeSync(descriptor);
  }
}
