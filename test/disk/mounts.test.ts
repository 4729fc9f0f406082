import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type BlockDevice, describeDevice } from "../../src/disk/block_device.ts";
import { mountAt, parseMountInfo } from "../../src/disk/mount_info.ts";
import { freezeTargets } from "../../src/disk/mounts.ts";
import { Machine, run, shell } from "../support/machine.ts";

test("parseMountInfo() reads optional fields, escapes and read-only file systems", () => {
  const text = [
    "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
    "37 35 0:44 / /data rw shared:7 propagate_from:2 - btrfs /dev/vdb1 ro,subvolid=5",
    "",
  ].join("\n");
  expect(parseMountInfo(text)).toEqual([
    {
      mountId: 36,
      parentId: 35,
      deviceNumber: "98:0",
      mountpoint: "/mnt/a b",
      fileSystem: "ext3",
      source: "/dev/root",
      readOnly: false,
    },
    {
      mountId: 37,
      parentId: 35,
      deviceNumber: "0:44",
      mountpoint: "/data",
      fileSystem: "btrfs",
      source: "/dev/vdb1",
      readOnly: true,
    },
  ]);
});

describe("mountAt()", () => {
  /** `id parent mountpoint`, one a line. */
  function mountsIn(...lines: string[]) {
    return parseMountInfo(
      lines
        .map((line) => line.split(" "))
        .map(([id, parent, mountpoint]) => `${id} ${parent} 0:1 / ${mountpoint} rw - ext4 none rw`)
        .join("\n"),
    );
  }

  const mounts = mountsIn("1 1 /", "2 1 /a/b", "3 1 /a", "4 3 /a/b", "5 4 /a/b", "6 1 /ab");

  test.for([
    ["/", 1],
    ["/a", 3],
    ["/a/x", 3],
    // 2 lies below 3, and 4 below 5.
    ["/a/b", 5],
    ["/a/b/c/d", 5],
    ["/abc", 1],
    ["/ab/c", 6],
  ] as const)("%s leads to mount %d", ([path, mountId]) => {
    expect(mountAt(path, mounts)?.mountId).toBe(mountId);
  });

  test("knows a root whose parent is not in the list", () => {
    expect(mountAt("/x", mountsIn("20 7 /", "21 20 /x"))?.mountId).toBe(21);
    expect(mountAt("/x", mountsIn("21 20 /y"))).toBe(undefined);
  });
});

describe("freezeTargets()", () => {
  let machine: Machine;
  beforeEach(() => {
    machine = new Machine();
  });
  afterEach(() => machine.close());

  function formatted(kind: string, sizeMiB = 128): string {
    const disk = machine.loopDisk(`disk-${kind}`, sizeMiB << 20);
    run(`mkfs.${kind}`, "-q", disk);
    return disk;
  }

  function bind(folder: string, name: string): string {
    const bound = machine.path(name);
    mkdirSync(bound);
    run("mount", "--bind", folder, bound);
    machine.onClose(() => run("umount", bound));
    return bound;
  }

  function pathsOf(device: BlockDevice): string[] {
    return freezeTargets(device).map(({ mountpoint }) => mountpoint);
  }

  test("names a file system once, with the id of its mount", () => {
    const disk = formatted("btrfs");
    const folder = machine.mount(disk);
    run("btrfs", "--quiet", "subvolume", "create", `${folder}/sub`);
    const sub = machine.mount(disk, "-o", "subvol=sub");
    bind(folder, "bound");
    const targets = freezeTargets(describeDevice(disk));
    const mountId = Number(run("findmnt", "-no", "ID", folder));
    expect(targets).toEqual([{ mountId, mountpoint: folder, fileSystem: "btrfs" }]);
    machine.unmount(folder);
    expect(pathsOf(describeDevice(disk))).toEqual([sub]);
  });

  test("finds a btrfs by any of its disks", () => {
    const disks = ["one", "two"].map((name) => machine.loopDisk(name, 128 << 20));
    run("mkfs.btrfs", "-q", ...disks);
    const folder = machine.mount(disks[0] ?? "");
    for (const disk of disks) expect(pathsOf(describeDevice(disk))).toEqual([folder]);
  });

  test("takes partitions, and what was mounted last first", () => {
    const disk = machine.loopDisk("parts", 64 << 20);
    shell(`printf ',16M\\n,16M\\n,16M\\n' | sfdisk -q ${disk}`);
    run("partx", "-a", disk);
    machine.onClose(() => run("partx", "-d", disk));
    for (const part of [1, 2, 3]) run("mkfs.ext4", "-q", `${disk}p${part}`);
    const [second, first] = [machine.mount(`${disk}p2`), machine.mount(`${disk}p1`)];
    expect(pathsOf(describeDevice(disk))).toEqual([first, second]);
    expect(pathsOf(describeDevice(`${disk}p2`))).toEqual([second]);
    expect(pathsOf(describeDevice(`${disk}p3`))).toEqual([]);
  });

  test("takes what lies on files of the disk before the disk, whatever was mounted last", () => {
    const disk = formatted("ext4");
    const outer = machine.mount(disk);
    const bound = bind(outer, "bound");
    const image = (folder: string, name: string): string => {
      run("truncate", "-s", "32M", `${folder}/${name}`);
      const loop = machine.attach(`${folder}/${name}`);
      run("mkfs.ext4", "-q", loop);
      return loop;
    };
    const middle = machine.mount(image(outer, "middle.img"));
    const inner = machine.mount(image(middle, "inner.img"));
    const other = machine.mount(image(bound, "other.img"));
    expect(pathsOf(describeDevice(disk))).toEqual([inner, other, middle, outer]);
  });

  test("takes another mount where the first is hidden below one of another disk", () => {
    const disk = formatted("ext4");
    const folder = machine.mount(disk);
    const bound = bind(folder, "bound");
    run("mount", "-t", "tmpfs", "tmpfs", folder);
    machine.onClose(() => run("umount", folder));
    expect(pathsOf(describeDevice(disk))).toEqual([bound]);
    run("mount", "-t", "tmpfs", "tmpfs", bound);
    machine.onClose(() => run("umount", bound));
    // None is left: the helper will find that it leads elsewhere.
    expect(pathsOf(describeDevice(disk))).toEqual([folder]);
  });
});
