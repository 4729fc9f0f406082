/**
 * Ends of writes that interrupt the ends of others: the kernel (6.1) skips the program for them, and
 * the second program works on them.
 *
 * A loop disk's writes end in a thread, those of a virtio disk in an interrupt; above each of them
 * lies a device mapper device. All are written to until the programs have been skipped often enough.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { Machine } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";

const MiB = 1 << 20;
const SKIPPED_MIN = 20;
const DEVICES = ["vda", "loop0", "dm-0", "dm-1"].map((name) => `/dev/${name}`);

const SCRIPT = `
export IBACKUP_REPO=file:///mnt/repo
devices="${DEVICES.join(" ")}"
mkdir -p /mnt/repo
mount -t tmpfs -o mode=700 tmpfs /mnt/repo
ibackup init --no-encryption
truncate -s 32M /run/image
losetup /dev/loop0 /run/image
truncate -s 32M /run/image-below
losetup /dev/loop1 /run/image-below
echo '0 65536 linear /dev/vdb 0' | /bin/dmsetup create --noudevsync virtio
echo '0 65536 linear /dev/loop1 0' | /bin/dmsetup create --noudevsync loop
dd if=/dev/urandom of=/run/random bs=1M count=16
ibackup track start $devices
ibackup flush $devices

# skipped PROGRAM: how often the kernel has skipped it.
skipped() {
  /bin/bpftool --json prog show pinned "/sys/fs/bpf/ibackup/program_$1" >/run/program
  sed -n 's/.*"recursion_misses":\\([0-9]*\\).*/\\1/p' /run/program
}
all_skipped() {
  requests=$(skipped request_complete)
  bios=$(skipped bio_complete)
  echo $((\${requests:-0} + \${bios:-0}))
}
write_on() {
  round=0
  while [ -e /run/writing ]; do
    round=$((round + 1))
    /bin/dd if=/run/random of="$1" bs=4k count=1000 skip=$((round * 37 % 3000)) seek=$((round * 101 % 5000)) \\
      oflag=direct conv=notrunc 2>/dev/null
  done
}
: >/run/writing
for device in $devices; do write_on "$device" & done
deadline=$(($(date +%s) + 120))
while [ "$(all_skipped)" -lt ${SKIPPED_MIN} ] && [ "$(date +%s)" -lt $deadline ]; do sleep 1; done
rm /run/writing
wait
result skipped all_skipped
result flushed ibackup flush $devices --json
for device in $devices; do ibackup compare latest "$device" --disk "\${device##*/}"; done
ibackup track stop
`;

describe("ends of writes that interrupt each other", () => {
  const machine = new Machine();
  let results: Map<string, unknown>;

  beforeAll(() => {
    const { status, stdout, stderr } = runGuest(machine, SCRIPT, {
      disks: ["vda", "vdb"].map((name) => guestDisk(machine, name, 32 * MiB)),
      programs: ["dmsetup", "losetup", "/bin/dd", "bpftool"],
      timeLimitSeconds: 300,
    });
    expect(status, stdout + stderr).toBe(0);
    results = resultsOf(stdout);
  }, 330_000);
  afterAll(() => machine.close());

  test("are marked all the same: every disk is trusted, and is like its backup", () => {
    expect(results.get("skipped")).toBeGreaterThanOrEqual(SKIPPED_MIN);
    const { flushes } = results.get("flushed") as { flushes: Flushed[] };
    expect(flushes).toHaveLength(DEVICES.length);
    for (const flushed of flushes) {
      expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
    }
  });
});
