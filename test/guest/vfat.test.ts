/** vfat, mounted: the kernel of a test machine may not have it, Debian's has. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";

const MiB = 1 << 20;

/** vda and vdb: the disk and its restore. Busybox's dd knows no O_DIRECT. */
const SCRIPT = `
export IBACKUP_REPO=file:///mnt/repo
mkdir -p /mnt/repo /mnt/disk
mount -t tmpfs -o mode=700 tmpfs /mnt/repo
ibackup init --no-encryption
/bin/mkfs.vfat /dev/vda
ibackup track start /dev/vda

mount -t vfat /dev/vda /mnt/disk
for name in old direct mapped cut gone moved; do
  dd if=/dev/urandom of=/mnt/disk/$name bs=64k count=20
done
sync
result base ibackup flush /dev/vda --json

dd if=/dev/urandom of=/mnt/disk/new bs=64k count=20
dd if=/dev/urandom of=/mnt/disk/old bs=4k seek=100 count=10 conv=notrunc
dd if=/dev/urandom bs=1000 count=77 >> /mnt/disk/old
/bin/dd if=/dev/urandom of=/mnt/disk/direct bs=4k seek=8 count=64 conv=notrunc oflag=direct
/bin/xfs_io -c 'mmap -rw 0 1m' -c 'mwrite -S 0x5a 4096 300000' -c 'msync -s 0 1m' /mnt/disk/mapped
/bin/xfs_io -c 'truncate 70000' /mnt/disk/cut
rm /mnt/disk/gone
mkdir /mnt/disk/folder
mv /mnt/disk/moved /mnt/disk/folder/here
sync
result mounted ibackup flush /dev/vda --json
dd if=/dev/urandom of=/mnt/disk/folder/last bs=64k count=5
umount /mnt/disk
result unmounted ibackup flush /dev/vda --json

ibackup restore latest --target /dev/vdb --verify
ibackup track stop
`;

const machine = new Machine();
const disks = ["vda", "vdb"].map((name) => guestDisk(machine, name, 48 * MiB));
let outcome: ReturnType<typeof runGuest>;

beforeAll(() => {
  const programs = ["mkfs.vfat", "xfs_io", "/bin/dd"];
  outcome = runGuest(machine, SCRIPT, { kernel: "6.1", disks, programs });
}, 300_000);
afterAll(() => machine.close());

test("a mounted vfat comes back byte for byte after writes of every kind", () => {
  expect(outcome, outcome.stdout + outcome.stderr).toMatchObject({ status: 0 });
  const results = resultsOf(outcome.stdout);
  for (const name of ["mounted", "unmounted"]) {
    const flushed = results.get(name) as Flushed;
    expect(flushed).toMatchObject({ type: "incremental", gapCheck: { verdict: "trusted" } });
    expect(flushed.taints).toEqual([]);
  }
  const [original = "", restored = ""] = disks;
  expect(digestOf(restored)).toBe(digestOf(original));
  run("fsck.vfat", "-n", restored);
});
