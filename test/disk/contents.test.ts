import { openSync, readSync, truncateSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { recogniseContents } from "../../src/disk/contents.ts";
import { Machine, shell } from "../support/machine.ts";

const machine = new Machine();
afterAll(() => machine.close());

describe("what lies on a disk", () => {
  test.each([
    ["mkfs.ext2 -q -L two", 'ext2 "two"'],
    ["mkfs.ext3 -q", "ext3"],
    ["mkfs.ext4 -q -L 'a\x1b b'", 'ext4 "a? b"'],
    ["mkfs.xfs -q -L data", 'xfs "data"'],
    ["mkfs.btrfs -q -L pool", 'btrfs "pool"'],
    ["mkfs.vfat -n EFI", 'vfat "EFI"'],
    ["mkfs.vfat -F 32", "vfat"],
    ["mkswap -q -L swap", 'swap "swap"'],
    ["echo 2048, | sfdisk -q -X gpt", "partition table"],
    ["echo 2048, | sfdisk -q -X dos", "partition table"],
  ])("%s is recognised", (command, expected) => {
    const image = emptyImage(320 << 20);
    shell(`${command} ${image} > ${image}.log 2>&1 || { cat ${image}.log >&2; false; }`);
    expect(recogniseContents(headOf(image))).toEqual([expected]);
  });

  test("is nothing where there are zeroes, text, or no bytes at all", () => {
    expect(recogniseContents(headOf(emptyImage(1 << 20)))).toEqual([]);
    expect(recogniseContents(new TextEncoder().encode("some words"))).toEqual([]);
    expect(recogniseContents(new Uint8Array())).toEqual([]);
    // The magic number of ext, and then it ends.
    expect(recogniseContents(new Uint8Array(1082).fill(0x53))).toEqual([]);
  });
});

function emptyImage(sizeBytes: number): string {
  const path = machine.path("image");
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return path;
}

function headOf(path: string): Uint8Array {
  const bytes = new Uint8Array(72 << 10);
  return bytes.subarray(0, readSync(openSync(path, "r"), bytes, 0, bytes.length, 0));
}
