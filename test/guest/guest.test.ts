/**
 * What the kernel of a test machine may lack: kprobes, device mapper, virtio disks, and the old
 * kernels for which there is a second set of programs.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { type GuestOptions, guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { digestOf, Machine } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";

const MiB = 1 << 20;

/** What `track status --json` prints, as far as this test looks at it. */
interface Status {
  session: { bufferHook: string; bpfObject: string };
  devices: {
    device: string;
    bioBased: boolean;
    dirtyBlocks: number;
    counters: { buffersDirtied: number; buffersInvalid: number };
    taints: Record<string, number>;
  }[];
}

/**
 * vda and vdb: the disk and its restore. vdc: seen by hook `buffer` only. vdd: under a device mapper
 * device of two segments in the wrong order.
 */
const SCRIPT = `
export IBACKUP_REPO=file:///mnt/repo
mkdir -p /mnt/repo /mnt/disk /mnt/buffer /mnt/linear
mount -t tmpfs -o mode=700 tmpfs /mnt/repo
ibackup init --no-encryption

change() {
  dd if=/dev/urandom of="$1/new" bs=64k count=20
  dd if=/dev/urandom of="$1/old" bs=4k seek=100 count=10 conv=notrunc
  rm "$1/gone"
  mv "$1/moved" "$1/here"
}
fill() {
  for name in old gone moved; do dd if=/dev/urandom of="$1/$name" bs=64k count=32; done
  sync
}

printf '%s\\n' '0 32768 linear /dev/vdd 40960' '32768 32768 linear /dev/vdd 2048' |
  /bin/dmsetup create --noudevsync linear
/bin/dmsetup mknodes
linear=/dev/mapper/linear

/bin/mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
/bin/mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vdc
/bin/mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 $linear
result doctor ibackup doctor /dev/vda --json

ibackup track start /dev/vda $linear --hook block
ibackup track start /dev/vdc --hook buffer

mount -t ext4 /dev/vda /mnt/disk
mount -t ext4 $linear /mnt/linear
fill /mnt/disk
fill /mnt/linear
result base ibackup flush /dev/vda --json
result linear-base ibackup flush $linear --json
change /mnt/disk
change /mnt/linear
umount /mnt/disk
umount /mnt/linear

# Somebody else has the disk below for himself, or shares it with all who lie on it.
lock=$(ls -d /run/ibackup /dev/shm/ibackup 2>/dev/null)/locks/$(tr : - </sys/block/vdd/dev)
status_of() { "$@" >/dev/null 2>&1 && echo 0 || echo $?; }
result below-taken status_of /bin/flock -x "$lock" ibackup flush $linear
result below-shared status_of /bin/flock -s "$lock" ibackup flush /dev/vdd

result incremental ibackup flush /dev/vda --json
result linear-incremental ibackup flush $linear --json

mount -t ext4 -o nodelalloc /dev/vdc /mnt/buffer
dd if=/dev/urandom of=/mnt/buffer/file bs=64k count=32
sync
result status ibackup track status --json
umount /mnt/buffer

ibackup restore --disk vda --target /dev/vdb
ibackup compare latest $linear --disk dm-0
ibackup track stop
[ -z "$(ls -A /sys/fs/bpf)" ]
`;

const KERNELS = [
  { kernel: "6.1", bpfObject: "modern", bufferHook: "kprobe" },
  // No atomic instructions, no bpf_loop, other arguments of tracepoints; a kprobe cannot be pinned.
  { kernel: "5.10", bpfObject: "legacy", bufferHook: "tracepoint" },
] as const;

describe.each(KERNELS)("Debian's kernel $kernel", ({ kernel, bpfObject, bufferHook }) => {
  const machine = new Machine();
  const disks = ["vda", "vdb", "vdc", "vdd"].map((name) => guestDisk(machine, name, 48 * MiB));
  const options: GuestOptions = {
    kernel,
    disks,
    programs: ["mke2fs", "dmsetup", "losetup", "flock"],
  };
  let outcome: ReturnType<typeof runGuest>;
  const result = <T>(name: string): T => resultsOf(outcome.stdout).get(name) as T;

  beforeAll(() => {
    outcome = runGuest(machine, SCRIPT, options);
  }, 300_000);
  afterAll(() => machine.close());

  test("runs the whole cycle", () => {
    expect(outcome, outcome.stdout + outcome.stderr).toMatchObject({ status: 0 });
  });

  test("is one of which doctor finds no fault", () => {
    const { findings } = result<{ findings: { check: string; verdict: string }[] }>("doctor");
    expect(findings.filter(({ verdict }) => verdict !== "ok")).toEqual([]);
    expect(findings.map(({ check }) => check)).toContain("hook block");
  });

  test("gets the set of programs that it can load", () => {
    expect(result<Status>("status").session).toMatchObject({ bpfObject, bufferHook });
  });

  test("sees each write to a virtio disk, and the restored disk is the same", () => {
    expect(result<Flushed>("base").type).toBe("base");
    const flushed = result<Flushed>("incremental");
    expect(flushed).toMatchObject({ type: "incremental", gapCheck: { verdict: "trusted" } });
    expect(flushed.blocksChanged).toBeGreaterThan(330);
    expect(flushed.blocksChanged).toBeLessThan(1000);
    const [original = "", restored = ""] = disks;
    expect(digestOf(restored)).toBe(digestOf(original));
    expect(readFileSync(restored).some((byte) => byte !== 0)).toBe(true);
  });

  test("sees each write to a device mapper device", () => {
    const flushed = result<Flushed>("linear-incremental");
    expect(flushed).toMatchObject({ type: "incremental", gapCheck: { verdict: "trusted" } });
    expect(flushed.blocksChanged).toBeGreaterThan(330);
    expect(flushed.blocksChanged).toBeLessThan(1000);
  });

  test("is not backed up at the same time as the disk below it", () => {
    expect(result<number>("below-taken")).toBe(EXIT_STATUS.LOCKED);
    expect(result<number>("below-shared")).toBe(EXIT_STATUS.LOCKED);
  });

  test("reports the blocks that turn dirty in mark_buffer_dirty", () => {
    const buffered = result<Status>("status").devices.find(({ device }) => device === "/dev/vdc");
    // 2 MiB were written, to blocks that nodelalloc places at once.
    expect(buffered?.dirtyBlocks).toBeGreaterThanOrEqual(512);
    expect(buffered?.counters.buffersDirtied).toBeGreaterThanOrEqual(512);
    expect(buffered?.counters.buffersInvalid).toBe(0);
  });
});

describe("scripts/guest", () => {
  test("gives the script's output and exit status", () => {
    const machine = new Machine();
    try {
      const outcome = runGuest(machine, "echo one\necho two >&2\nexit 7\n");
      expect(outcome).toMatchObject({ status: 7, stdout: "one\ntwo\n" });
    } finally {
      machine.close();
    }
  });

  test("kills a guest that does not end", () => {
    const machine = new Machine();
    try {
      const outcome = runGuest(machine, "sleep 1000\n", { timeLimitSeconds: 15 });
      expect(outcome.status).toBe(124);
      expect(outcome.stderr).toContain("the script did not end");
    } finally {
      machine.close();
    }
  });
});
