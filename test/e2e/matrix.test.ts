/** Every kind of file system and of write: what a backup restores is the disk, byte for byte. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, firstDifference, run, shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, ownBlocks, Site } from "../support/site.ts";
import {
  checkFileSystem,
  differingBlocks,
  type Lack,
  populate,
  scribble,
  treeDigest,
} from "../support/workload.ts";

interface Kind {
  name: string;
  fileSystem: string;
  sizeMiB: number;
  mkfs: string[];
  mountOptions?: string;
  lacks?: Lack[];
}

const NO_PUNCH: Lack[] = ["punch"];
const KINDS: Kind[] = [
  { name: "ext2", fileSystem: "ext2", sizeMiB: 96, mkfs: ["mkfs.ext2", "-q"], lacks: NO_PUNCH },
  { name: "ext4", fileSystem: "ext4", sizeMiB: 96, mkfs: ["mkfs.ext4", "-q"] },
  {
    name: "ext4 with nodelalloc",
    fileSystem: "ext4",
    sizeMiB: 96,
    mkfs: ["mkfs.ext4", "-q"],
    mountOptions: "nodelalloc",
  },
  {
    name: "ext4 with data=journal",
    fileSystem: "ext4",
    sizeMiB: 96,
    mkfs: ["mkfs.ext4", "-q", "-J", "size=16"],
    mountOptions: "data=journal",
  },
  {
    name: "ext4 without a journal",
    fileSystem: "ext4",
    sizeMiB: 96,
    mkfs: ["mkfs.ext4", "-q", "-O", "^has_journal"],
  },
  { name: "xfs", fileSystem: "xfs", sizeMiB: 320, mkfs: ["mkfs.xfs", "-q"] },
  { name: "btrfs", fileSystem: "btrfs", sizeMiB: 160, mkfs: ["mkfs.btrfs", "-q"] },
  ...(hasFileSystem("vfat")
    ? [{ name: "vfat", fileSystem: "vfat", sizeMiB: 96, mkfs: ["mkfs.vfat"], lacks: NO_PUNCH }]
    : []),
];

describe.runIf(canTrack())("a chain of backups restores", () => {
  let site: Site;
  beforeEach(() => {
    site = new Site();
    site.init();
  });
  afterEach(() => site.close());

  test.each(KINDS)("$name after writes of every kind", async (kind) => {
    const { machine } = site;
    const random = seededRandom(kind.name);
    const sizeBytes = kind.sizeMiB << 20;
    const source = machine.loopDisk("source", sizeBytes);
    format(kind, source);
    write(kind, source, (folder) => populate(folder, random));
    run("cp", "--sparse=always", machine.path("source.img"), machine.path("before.img"));
    site.must("track", "start", source);
    expect(site.flush(source)).toMatchObject({ type: "base", consistency: "quiet" });

    let mounted: Flushed | undefined;
    let tree = "";
    write(kind, source, (folder) => {
      scribble(folder, random, kind.lacks);
      mounted = site.flush(source);
      tree = treeDigest(folder);
      expectTrusted(mounted);
    });
    const between = `${mounted?.backupId}`;
    write(kind, source, (folder) => scribble(folder, random, kind.lacks));
    const last = site.flush(source);
    expectTrusted(last);
    expect(last.consistency).toBe("quiet");

    const changed = differingBlocks(machine.path("before.img"), machine.path("source.img"));
    const marked = await ownBlocks(site.repo, between);
    for (const block of await ownBlocks(site.repo, last.backupId)) marked.add(block);
    expect(changed.length).toBeGreaterThan(100);
    expect(changed.filter((block) => !marked.has(block))).toEqual([]);

    const target = machine.loopDisk("target", sizeBytes);
    fillWithNoise(target, 32);
    site.restore(last.backupId, target);
    expect(firstDifference(source, target)).toBe("");
    checkFileSystem(kind.fileSystem, target);
    // The one taken while it was mounted: all that had been synced is there.
    site.restore(between, target);
    write(kind, target, (folder) => expect(treeDigest(folder)).toBe(tree));
  });

  test("vfat that mtools writes, where the kernel need not know it", () => {
    const { machine } = site;
    const random = seededRandom("vfat by mtools");
    const source = machine.loopDisk("source", 40 << 20);
    run("mkfs.vfat", source);
    const copy = (name: string, bytes: number): void => {
      writeFileSync(machine.path(name), random.bytes(bytes));
      run("mcopy", "-o", "-i", source, machine.path(name), `::${name}`);
    };
    copy("one", 3 << 20);
    copy("two", 100_000);
    site.must("track", "start", source);
    expect(site.flush(source)).toMatchObject({ type: "base" });
    copy("two", 70_000);
    copy("three", 1_000_000);
    run("mdel", "-i", source, "::one");
    run("mmd", "-i", source, "::folder");
    expectTrusted(site.flush(source));
    const target = machine.loopDisk("target", 40 << 20);
    fillWithNoise(target, 40);
    site.restore("latest", target);
    expect(firstDifference(source, target)).toBe("");
    checkFileSystem("vfat", target);
  });

  test("a raw disk with a last partial block, and holds just what was written", async () => {
    const sizeBytes = (64 << 20) + 1536;
    const { machine } = site;
    const random = seededRandom("raw disk");
    const source = machine.loopDisk("source", sizeBytes);
    fillWithNoise(source, 64);
    await expectExactly(rawDisk(source, sizeBytes), random);
    const target = machine.loopDisk("target", sizeBytes);
    fillWithNoise(target, 64);
    site.restore("latest", target, "--verify");
    expect(firstDifference(source, target)).toBe("");
  });

  test("a disk that takes bios and has no request queue (zram)", async () => {
    const source = zramDisk(site, 64 << 20);
    const random = seededRandom("zram");
    fillWithNoise(source, 64);
    await expectExactly(rawDisk(source, 64 << 20), random);
    const target = zramDisk(site, 64 << 20);
    fillWithNoise(target, 64);
    site.restore("latest", target);
    expect(digestOf(target)).toBe(digestOf(source));

    const ext4 = { name: "zram", fileSystem: "ext4", sizeMiB: 64, mkfs: ["mkfs.ext4", "-q"] };
    format(ext4, source);
    write(ext4, source, (folder) => {
      populate(folder, random);
      scribble(folder, random);
      expectTrusted(site.flush(source));
      scribble(folder, random);
    });
    expectTrusted(site.flush(source));
    site.restore("latest", target);
    expect(digestOf(target)).toBe(digestOf(source));
    checkFileSystem("ext4", target);
  });

  /** Writes in known places, a flush after each, which must hold those blocks and no other. */
  async function expectExactly(disk: RawDisk, random: Random): Promise<void> {
    site.must("track", "start", disk.device);
    expect(site.flush(disk.device)).toMatchObject({ type: "base", consistency: "quiet" });
    for (const { name, act } of rawWrites(disk, random)) {
      const expected = [...act()].sort((a, b) => a - b);
      const flushed = site.flush(disk.device);
      expectTrusted(flushed);
      const own = await ownBlocks(site.repo, flushed.backupId);
      expect({ name, blocks: [...own].sort((a, b) => a - b) }).toEqual({ name, blocks: expected });
    }
  }
});

function hasFileSystem(name: string): boolean {
  spawnSync("modprobe", [name]);
  return readFileSync("/proc/filesystems", "utf8").split(/\s/).includes(name);
}

interface RawDisk {
  device: string;
  sizeBytes: number;
  blockCount: number;
}

function rawDisk(device: string, sizeBytes: number): RawDisk {
  return { device, sizeBytes, blockCount: Math.ceil(sizeBytes / 4096) };
}

/** Each writes and gives the blocks that it wrote to. */
function rawWrites(
  { device, sizeBytes, blockCount }: RawDisk,
  random: Random,
): { name: string; act: () => Set<number> }[] {
  const sectors = Number(run("blockdev", "--getsz", device));
  const sectorBytes = Number(run("blockdev", "--getss", device));
  const anywhere = (): number => random.below(blockCount - 64);
  const dd = (options: string): void => {
    shell(`dd if=/dev/urandom of=${device} conv=notrunc status=none ${options}`);
  };
  const blocksOf = (offset: number, length: number): Set<number> => {
    const first = Math.floor(offset / 4096);
    const last = Math.floor((offset + length - 1) / 4096);
    return new Set(Array.from({ length: last - first + 1 }, (_, i) => first + i));
  };
  const direct = () => {
    const blocks = new Set(Array.from({ length: 40 }, anywhere));
    for (const block of blocks) dd(`bs=4096 count=1 oflag=direct seek=${block}`);
    return blocks;
  };
  const sector = (number: number) => {
    const at = Math.floor((number * 512) / sectorBytes);
    dd(`bs=${sectorBytes} count=1 oflag=direct seek=${at}`);
    return blocksOf(at * sectorBytes, sectorBytes);
  };
  const buffered = () => {
    const block = anywhere();
    dd(`bs=4096 count=9 seek=${block} conv=notrunc,fsync`);
    return blocksOf(block * 4096, 9 * 4096);
  };
  const mapped = () => {
    const block = anywhere();
    const at = `${block * 4096} 36864`;
    run("xfs_io", "-c", `mmap -rw ${at}`, "-c", `mwrite -S 0x5a ${at}`, "-c", "msync -s", device);
    return blocksOf(block * 4096, 36_864);
  };
  const discard = (...options: string[]) => {
    const block = anywhere();
    run("blkdiscard", ...options, "-o", `${block * 4096}`, "-l", `${50 * 4096}`, device);
    return blocksOf(block * 4096, 50 * 4096);
  };
  const end = () => {
    dd(`bs=512 oflag=seek_bytes seek=${sizeBytes - 1024} count=2 conv=notrunc,fsync`);
    return blocksOf(sizeBytes - 1024, 1024);
  };
  return [
    { name: "O_DIRECT writes of one block", act: direct },
    { name: "512 bytes in the middle", act: () => sector(8 * anywhere() + 3) },
    { name: "the first sector", act: () => sector(0) },
    { name: "the last sector", act: () => sector(sectors - 1) },
    { name: "buffered writes", act: buffered },
    { name: "mmap", act: mapped },
    { name: "a partial blkdiscard", act: () => discard() },
    { name: "blkdiscard -z", act: () => discard("-z") },
    { name: "the last bytes, buffered", act: end },
    { name: "nothing", act: () => new Set<number>() },
  ];
}

function expectTrusted(flushed: Flushed): void {
  expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
}

function format({ mkfs: [program = "", ...options] }: Kind, device: string): void {
  run(program, ...options, device);
}

/** Mounts the disk for as long as `work` takes. */
function write(kind: Kind, device: string, work: (folder: string) => void): void {
  const folder = shell("mktemp -d /var/tmp/ibackup-test-mnt-XXXXXX").trim();
  const options = kind.mountOptions === undefined ? [] : ["-o", kind.mountOptions];
  try {
    run("mount", ...options, device, folder);
    try {
      work(folder);
    } finally {
      run("umount", folder);
    }
  } finally {
    run("rmdir", folder);
  }
}

function fillWithNoise(device: string, sizeMiB: number): void {
  shell(
    `head -c ${sizeMiB}M /dev/urandom | dd of=${device} bs=4M oflag=direct iflag=fullblock status=none`,
  );
}

function zramDisk({ machine }: Site, sizeBytes: number): string {
  const number = run("cat", "/sys/class/zram-control/hot_add").trim();
  const device = `/dev/zram${number}`;
  machine.onClose(() => {
    shell(`echo ${number} > /sys/class/zram-control/hot_remove`);
  });
  shell(`echo ${sizeBytes} > /sys/block/zram${number}/disksize`);
  return device;
}
