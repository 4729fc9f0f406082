import { expect, test } from "vitest";
import { parseMountInfo } from "../../src/disk/mount_info.ts";

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
