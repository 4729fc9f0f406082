/** Backups of mounted file systems under load: each is the disk as it was while it was frozen. */
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { arrangeThaw } from "../support/freezing.ts";
import { run, shell } from "../support/machine.ts";
import { canTrack, Site } from "../support/site.ts";
import { Storm } from "../support/storm.ts";
import { checkFileSystem } from "../support/workload.ts";

const FLUSHES = env["IBACKUP_LONG"] === "1" ? 20 : 4;

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
    arrangeThaw(machine, folder);
    const copy = machine.path("copy.img");
    const restored = machine.path("restored.img");
    site.must("track", "start", source);
    const storm = new Storm(machine, folder, { fileMiB: 24, writesPerSecond: 1500 });
    try {
      for (let round = 1; round <= FLUSHES; round++) {
        const flushed = site.flush(
          source,
          ...["--consistency", "frozen", "--freeze-limit", "30s", "--freeze-budget", "1s"],
          ...["--frozen", `dd if="$IBACKUP_DEVICE" of=${copy} bs=1M iflag=direct status=none`],
        );
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

/** No journal has to be replayed: the file system is as after an unmount. */
function expectClean({ machine }: Site, kind: string, image: string): void {
  // A frozen xfs keeps a record in its log, and counts free blocks without those set aside for
  // files that are open: the next mount puts that right, as the kernel means it to.
  if (kind === "xfs") machine.unmount(machine.mount(image, "-o", "loop,nouuid"));
  checkFileSystem(kind, image);
  if (kind !== "ext4") return;
  const features = run("dumpe2fs", "-h", image).match(/^Filesystem features:.*$/m)?.[0];
  expect(features).toContain("has_journal");
  expect(features).not.toContain("needs_recovery");
}
