import { expect, test } from "vitest";
import type { Mount } from "../../src/disk/mounts.ts";
import { judgeFreezing } from "../../src/job/doctor_disks.ts";

function mount(fileSystem: string, mountpoint: string, readOnly = false): Mount {
  return { fileSystem, mountpoint, source: "/dev/vda1", readOnly };
}

test("file systems that cannot be frozen are named, unless they are read-only", () => {
  const good = [mount("ext4", "/"), mount("ext4", "/"), mount("squashfs", "/snap", true)];
  expect(judgeFreezing(good)).toEqual({
    check: "freezing",
    verdict: "ok",
    found: "all can be frozen, or are read-only: ext4 on /, squashfs on /snap",
    fix: null,
  });
  expect(judgeFreezing([...good, mount("vfat", "/boot/efi")])).toMatchObject({
    verdict: "warn",
    found: "cannot be frozen: vfat on /boot/efi",
  });
  expect(judgeFreezing([])).toMatchObject({ verdict: "ok", found: "nothing is mounted" });
});
