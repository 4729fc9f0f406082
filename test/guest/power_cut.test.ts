/**
 * The power goes in the middle of a flush, again and again, on one disk and one repository.
 *
 * Each boot settles what the last cut has left: its first flush compares the disk, and the guest
 * copies the disk with dd. Then it writes, takes a frozen backup while it goes on writing, and is killed.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { env, stderr } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, resultsOf, runGuest } from "../support/guest.ts";
import { RepositoryDisk } from "../support/guest_repository.ts";
import { Machine, run, shell } from "../support/machine.ts";
import type { Flushed } from "../support/program.ts";
import { seededRandom } from "../support/random.ts";

const MiB = 1 << 20;
const DISK_BYTES = 64 * MiB;
const CUTS = env["IBACKUP_LONG"] === "1" ? 40 : 2;
const FUNCTIONS = readFileSync(join(import.meta.dirname, "power_cut.sh"), "utf8");

/** What was pending went with the boot. */
const NEW_BOOT = /did not see the writes|was started anew/;
/** Permille of a flush's duration at which the power goes: some cuts come just after it. */
const LATEST_PERMILLE = 1100;

/** What a flush takes that is not cut, in hundredths of a second, is `duration`. */
const FIRST_BOOT = `
mount_repository
ibackup init --no-encryption
/bin/mke2fs -q -t ext4 -b 4096 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vda
ibackup track start /dev/vda
result settled ibackup flush /dev/vda --json
$copy_disk
mount -t ext4 /dev/vda $disk
write_some
start_writing "$disk/files"
started=$(uptime_hundredths)
result uncut flush_frozen
duration=$(($(uptime_hundredths) - started))
echo "result duration $duration"
`;

const LATER_BOOT = `
mount_repository
ibackup track start /dev/vda
result settled ibackup flush /dev/vda --json
$copy_disk
mount -t ext4 /dev/vda $disk
start_writing "$disk/files"
`;

/** @param permille Of a flush's duration. */
function flushAndCut(permille: number): string {
  return `
write_some
cut_power_in $((duration * ${permille} / 1000)) &
flush_frozen
wait
`;
}

describe("a flush during which the power goes", () => {
  const machine = new Machine();
  const random = seededRandom("power cuts");
  const disk = guestDisk(machine, "disk", DISK_BYTES);
  const copies = guestDisk(machine, "copies", 2 * DISK_BYTES);
  let repository: RepositoryDisk;
  /** How long a flush takes that is not cut, in hundredths of a second. */
  let duration = 0;
  /** All backups that were there when somebody last looked. */
  let known: string[] = [];
  /** Cuts that left no backup: they came before the flush was done. */
  let unfinished = 0;

  function boot(script: string, options: { isCut: boolean }): Map<string, unknown> {
    const { status, stdout, stderr } = runGuest(machine, FUNCTIONS + script, {
      disks: [disk, repository.image, copies],
      programs: ["mke2fs", "/bin/dd"],
      ...(options.isCut && { cutPowerLine: "cut the power" }),
    });
    expect(status, stdout + stderr).toBe(options.isCut ? 137 : 0);
    return resultsOf(stdout);
  }

  /** One in each part of a flush, so that late cuts are not wanting. */
  function cutScript(cut: number): string {
    const part = LATEST_PERMILLE / CUTS;
    return flushAndCut(Math.floor(cut * part + random.below(part)));
  }

  beforeAll(() => {
    repository = new RepositoryDisk(machine, 512 * MiB);
    const results = boot(FIRST_BOOT + cutScript(0), { isCut: true });
    duration = results.get("duration") as number;
    look(results);
  }, 600_000);
  afterAll(() => machine.close());

  test(`leaves nothing to repair, ${CUTS} times`, () => {
    for (let cut = 1; cut < CUTS; cut++) {
      const script = `${LATER_BOOT}\nduration=${duration}\n${cutScript(cut)}`;
      expectSettled(boot(script, { isCut: true }));
    }
    expect(unfinished).toBeGreaterThan(0);
    const [untilSettled = ""] = LATER_BOOT.split("mount -t ext4 /dev/vda");
    expectSettled(boot(untilSettled, { isCut: false }));
  }, 7_200_000);

  function expectSettled(results: Map<string, unknown>): void {
    const settled = results.get("settled") as Flushed;
    expect(settled).toMatchObject({
      type: "incremental",
      parentId: known.at(-1),
      gapCheck: { verdict: "compared", reason: expect.stringMatching(NEW_BOOT) },
    });
    look(results);
  }

  /** What was committed is there, all of it is sound, and the backups are the disk at their instants. */
  function look(results: Map<string, unknown>): void {
    const settled = results.get("settled") as Flushed;
    const uncut = (results.get("uncut") ?? settled) as Flushed;
    repository.look((opened) => {
      opened.must("verify", "--data");
      const backupIds = opened.backupIds();
      expect(backupIds).toEqual(expect.arrayContaining([...known, settled.backupId]));
      expectCopy(opened.restore(settled.backupId), 0);
      const isFinished = backupIds.at(-1) !== uncut.backupId;
      if (isFinished) expectCopy(opened.restore("latest"), 1);
      else unfinished += 1;
      stderr.write(`power cut: the flush was ${isFinished ? "done" : "not done"}\n`);
      known = backupIds;
    });
  }

  /** Holds it against one of the guest's copies; no journal has to be replayed. */
  function expectCopy(restored: string, copy: 0 | 1): void {
    const range = `--ignore-initial=0:${copy * DISK_BYTES} --bytes=${DISK_BYTES}`;
    expect(shell(`cmp ${range} '${restored}' '${copies}' || true`)).toBe("");
    if (copy === 1) run("e2fsck", "-fn", restored);
    rmSync(restored);
  }
});
