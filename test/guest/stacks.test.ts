/**
 * Devices that are stacked on others, in a guest that is started anew between flushes.
 *
 * Three boots with the same disks: the first makes everything; the second runs another kernel that
 * writes to all of them and has no ibackup; the third finds them again under other names. What a
 * restore gives is held against copies that the guest made with dd.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { RepositoryDisk } from "../support/guest_repository.ts";
import { Machine, run, shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";

const MiB = 1 << 20;
const STACKS = readFileSync(join(import.meta.dirname, "stacks.sh"), "utf8");
/** In the order of `devices` in stacks.sh. */
const DEVICES = ["vda", "vdb", "mapper/vg-data", "mapper/crypt", "mapper/thin", "md0"].concat(
  "mapper/linear",
);
const MODULES = ["dm_crypt", "xts", "ecb", "aesni_intel", "dm_thin_pool", "raid1"];
const PROGRAMS = ["mke2fs", "dmsetup", "lvm", "mdadm", "/bin/dd", "fallocate", "fstrim"].concat(
  "blkdiscard",
);

const FIRST_BOOT = `${STACKS}
mount_repository
ibackup init --no-encryption
create_all
make_file_systems
ibackup track start $devices
result base ibackup flush $devices --json
mount_all
fill_all
change_all 1
start_writing $(folders_of_all)
result frozen flush_frozen
stop_writing
unmount_all
write_raw_all
result raw ibackup flush $devices --json
copy_all 0
stop_all
umount /mnt/repository
`;

const OTHER_KERNEL = `${STACKS}
assemble_all
mount_all
change_all 2
unmount_all
write_raw_all
stop_all
`;

const THIRD_BOOT = `${STACKS}
mount_repository
assemble_all
ibackup track start $devices
result rebooted ibackup flush $devices --json
copy_all 0
mount_all
change_all 3
unmount_all
write_raw_all
result tracked ibackup flush $devices --json
copy_all 1
stop_all
umount /mnt/repository
`;

type Flushes = Map<string, Flushed & { device: string; disk: string }>;

const machine = new Machine();
const names = ["vda", "vdb", "vdc", "vdd", "vde", "vdf", "vdg"];
const sources = names.map((name) => guestDisk(machine, name, 24 * MiB));
const copies = guestDisk(machine, "copies", 3 * 256 * MiB);
let repository: RepositoryDisk;

function boot(script: string, kernel: "6.1" | "5.10" = "6.1"): Map<string, Flushes> {
  const disks = [...sources, repository.image, copies];
  const options = {
    kernel,
    disks,
    modules: MODULES,
    programs: PROGRAMS,
    timeLimitSeconds: 500,
  };
  const { status, stdout, stderr } = runGuest(machine, script, options);
  if (status !== 0) throw new Error(`the guest's script: status ${status}\n${stdout}${stderr}`);
  return new Map(
    [...resultsOf(stdout)].map(([name, document]) => {
      const { flushes } = document as { flushes: (Flushed & { device: string; disk: string })[] };
      return [name, new Map(flushes.map((it) => [it.device, it]))];
    }),
  );
}

/** Holds the restored backups of one round of flushes against the guest's copies of it. */
function expectRestored(
  flushes: Flushes | undefined,
  round: number,
  check?: (device: string, restored: string) => void,
): void {
  repository.look((opened) => {
    for (const [index, device] of DEVICES.entries()) {
      const { backupId = "" } = flushes?.get(`/dev/${device}`) ?? {};
      const restored = opened.restore(backupId);
      const place = (256 * round + 32 * index) * MiB;
      const cmp = `cmp --ignore-initial=0:${place} --bytes=$(stat -c %s '${restored}')`;
      expect(shell(`${cmp} '${restored}' '${copies}' || true`), device).toBe("");
      check?.(device, restored);
      run("rm", restored);
    }
  });
}

/** Its file system is as after an unmount. Under LVM it lies in two pieces. */
function expectClean(device: string, restored: string): void {
  if (device === "vdb") return;
  const image = device === "vda" ? `${restored}?offset=${MiB}` : restored;
  expect(run("dumpe2fs", "-h", image), device).not.toContain("needs_recovery");
  run("e2fsck", "-fn", image);
}

describe("stacked devices", () => {
  let first: Map<string, Flushes>;
  let third: Map<string, Flushes>;

  beforeAll(() => {
    repository = new RepositoryDisk(machine, 384 * MiB);
    const [partitioned = ""] = sources;
    const table = "label: gpt\\nstart=2048, size=34816\\nstart=36864, size=10240\\n";
    shell(`printf '${table}' | sfdisk --quiet '${partitioned}'`);
    first = boot(FIRST_BOOT);
  }, 520_000);
  afterAll(() => machine.close());

  test.each(DEVICES)("/dev/%s is tracked while it is mounted, and raw", (device) => {
    for (const name of ["frozen", "raw"]) {
      const flushed = first.get(name)?.get(`/dev/${device}`);
      expect(flushed, name).toMatchObject({
        type: "incremental",
        gapCheck: { verdict: "trusted" },
        taints: [],
      });
    }
  });

  test("come back byte for byte", () => {
    expectRestored(first.get("raw"), 0);
  });

  test("come back as they were in the instant of the freeze", () => {
    const flushes = first.get("frozen");
    for (const device of DEVICES) {
      expect(flushes?.get(`/dev/${device}`)).toMatchObject({
        consistency: "frozen",
        fileSystems: [{ fileSystem: "ext4", outcome: "frozen" }],
      });
    }
    expectRestored(flushes, 2, expectClean);
  });

  test("are compared after another kernel has written to them, and come back all the same", () => {
    boot(OTHER_KERNEL, "5.10");
    third = boot(THIRD_BOOT);
    for (const [device, flushed] of third.get("rebooted") ?? []) {
      const reason = expect.stringMatching(/did not see the writes|was started anew/);
      const parentId = first.get("raw")?.get(device)?.backupId;
      const expected = { type: "incremental", gapCheck: { verdict: "compared", reason }, parentId };
      expect(flushed, device).toMatchObject(expected);
    }
    expectRestored(third.get("rebooted"), 0);
  }, 1_200_000);

  test("are trusted again when tracking has gone on since", () => {
    for (const [device, flushed] of third.get("tracked") ?? []) {
      expect(flushed, device).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
    }
    expectRestored(third.get("tracked"), 1);
  });
});
