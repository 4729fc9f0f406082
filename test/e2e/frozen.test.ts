/** Backups of mounted file systems under load: each is the disk as it was while it was frozen. */
import { spawnSync } from "node:child_process";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { arrangeThaw } from "../support/freezing.ts";
import { run, shell } from "../support/machine.ts";
import { canTrack, Site } from "../support/site.ts";
import { Storm } from "../support/storm.ts";
import { checkFileSystem } from "../support/workload.ts";

const FLUSHES = env["IBACKUP_LONG"] === "1" ? 20 : 4;

/** What `xfs_repair` says besides what is wrong, and the rest of what it says of the log. */
const CHATTER =
  /^(Phase|\s+-|Cannot get host|Repair may fail|the image and|ignored because|which may be|No modify|$)/;

const KINDS = [
  { name: "ext4", sizeMiB: 160, mkfs: ["mkfs.ext4", "-q"] },
  { name: "xfs", sizeMiB: 320, mkfs: ["mkfs.xfs", "-q"] },
  { name: "btrfs", sizeMiB: 256, mkfs: ["mkfs.btrfs", "-q"] },
];

describe.runIf(canTrack())("a frozen backup under load", () => {
  let site: Site;
  beforeEach(() => {
    site = new Site();
    site.init();
  });
  afterEach(() => site.close());

  test.for(KINDS)(`${FLUSHES} times in a row of $name`, async ({ name, sizeMiB, mkfs }) => {
    const { machine } = site;
    const source = machine.loopDisk("source", sizeMiB << 20);
    const [program = "", ...options] = mkfs;
    run(program, ...options, source);
    const folder = machine.mount(source);
    const copy = machine.path("copy.img");
    const restored = machine.path("restored.img");
    site.must("track", "start", source);
    const storm = new Storm(machine, folder, { fileMiB: 24, writesPerSecond: 1500 });
    try {
      for (let round = 1; round <= FLUSHES; round++) {
        const thaw = arrangeThaw(machine, folder);
        const flushed = site.flush(
          source,
          ...["--consistency", "frozen", "--freeze-limit", "30s", "--freeze-budget", "1s"],
          ...["--frozen", `dd if="$IBACKUP_DEVICE" of=${copy} bs=1M iflag=direct status=none`],
        );
        await thaw();
        expect(flushed).toMatchObject({
          consistency: "frozen",
          type: round === 1 ? "base" : "incremental",
          gapCheck: { verdict: round === 1 ? "base" : "trusted" },
          fileSystems: [{ mountpoint: folder, fileSystem: name, outcome: "frozen" }],
          taints: [],
        });
        expect(flushed.blocksChanged).toBeGreaterThan(0);
        site.restore(flushed.backupId, restored);
        expect(shell(`cmp ${copy} ${restored} && echo same`)).toBe("same\n");
        expectClean(site, name, restored);
      }
    } finally {
      await storm.stop();
    }
  });
});

/** No journal has to be replayed: the file system is as after an unmount, as far as its kind allows. */
function expectClean({ machine }: Site, kind: string, image: string): void {
  if (kind === "xfs") {
    expectCoveredLog(image);
    machine.unmount(machine.mount(image, "-o", "loop,nouuid"));
  }
  checkFileSystem(kind, image);
  if (kind === "ext4") {
    const features = run("dumpe2fs", "-h", image).match(/^Filesystem features:.*$/m)?.[0];
    expect(features).toContain("has_journal");
    expect(features).not.toContain("needs_recovery");
  }
  if (kind === "btrfs") {
    expect(run("btrfs", "inspect-internal", "dump-super", image)).toMatch(/^log_root\s+0$/m);
  }
}

/**
 * A frozen xfs has no unmount record in its log, only its superblock, and that alone makes `xfs_repair
 * -n` end with status 1. It may find no other fault but the superblock's number of free blocks,
 * which leaves out what is set aside for trees of the file system's own: the next mount counts anew.
 */
function expectCoveredLog(image: string): void {
  const log = run("xfs_logprint", "-t", image);
  const superblocks = log.match(/^\s*SUPER Block Buffer:/gm);
  expect(log.match(/^[A-Z]+: cnt:/gm), log).toHaveLength(superblocks?.length ?? 0);
  const { status, stderr } = spawnSync("xfs_repair", ["-n", "-f", image], { encoding: "utf8" });
  const faults = stderr.split("\n").filter((line) => !CHATTER.test(line));
  expect(faults.join("\n")).toMatch(/^ALERT: .* in a log .*(\nsb_fdblocks \d+, counted \d+)?$/);
  expect(status).toBe(1);
}
