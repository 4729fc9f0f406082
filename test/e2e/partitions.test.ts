/** Partitioned disks: the whole disk, and one partition alone, wherever it begins. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { firstDifference, run, shell } from "../support/machine.ts";
import { seededRandom } from "../support/random.ts";
import { canTrack, ownBlocks, Site } from "../support/site.ts";
import { checkFileSystem, populate, scribble } from "../support/workload.ts";

const SIZE_BYTES = 448 << 20;
/** The second begins at an odd sector, so its blocks are none of the whole disk's. */
const TABLE = "label: gpt\nstart=2048, size=163840\nstart=166271, size=700001\n";

describe.runIf(canTrack())("of a partitioned disk", () => {
  let site: Site;
  let disk: string;
  beforeEach(() => {
    site = new Site();
    site.init();
    disk = partitionedDisk("source");
    run("mkfs.ext4", "-q", `${disk}p1`);
    run("mkfs.xfs", "-q", `${disk}p2`);
  });
  afterEach(() => site.close());

  test("all is restored, its partitions too", () => {
    const random = seededRandom("whole disk");
    onBoth((folder) => populate(folder, random));
    site.must("track", "start", disk);
    expect(site.flush(disk)).toMatchObject({ type: "base", consistency: "quiet" });
    onBoth((folder) => scribble(folder, random));
    expect(site.flush(disk)).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });

    const target = partitionedDisk("target", "label: dos\nstart=8\n");
    site.restore("latest", target);
    expect(firstDifference(disk, target)).toBe("");
    readPartitions(target);
    checkFileSystem("ext4", `${target}p1`);
    checkFileSystem("xfs", `${target}p2`);
  });

  test("a partition that begins at an odd sector is tracked alone", async () => {
    const random = seededRandom("odd partition");
    const [first, odd] = [`${disk}p1`, `${disk}p2`];
    site.must("track", "start", odd);
    onBoth((folder) => populate(folder, random));
    expect(site.flush(odd)).toMatchObject({ type: "base" });
    onBoth((folder) => scribble(folder, random));
    expect(site.flush(odd)).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });

    shell(`dd if=/dev/urandom of=${first} bs=1M count=4 oflag=direct status=none`);
    expect(site.flush(odd).blocksChanged).toBe(0);
    shell(`dd if=/dev/urandom of=${odd} bs=512 seek=8 count=1 oflag=direct status=none`);
    shell(`dd if=/dev/urandom of=${odd} bs=512 seek=700000 count=1 oflag=direct status=none`);
    const { backupId } = site.flush(odd);
    expect(await ownBlocks(site.repo, backupId)).toEqual(new Set([1, 87_500]));

    const target = site.machine.loopDisk("target", 700_001 * 512);
    site.restore("latest", target);
    expect(firstDifference(odd, target)).toBe("");
  });

  test("whole disk and partition are tracked at once, and each backup is complete", () => {
    const random = seededRandom("both at once");
    const odd = `${disk}p2`;
    site.must("track", "start", disk, odd);
    for (const device of [disk, odd]) expect(site.flush(device)).toMatchObject({ type: "base" });
    onBoth((folder) => populate(folder, random));
    for (const device of [odd, disk]) {
      expect(site.flush(device)).toMatchObject({ gapCheck: { verdict: "trusted" } });
    }
    const whole = site.machine.loopDisk("whole", SIZE_BYTES);
    const part = site.machine.loopDisk("part", 700_001 * 512);
    const { disks } = newestOf(site);
    site.restore("latest", whole, "--disk", disks[0] ?? "");
    site.restore("latest", part, "--disk", disks[1] ?? "");
    expect(firstDifference(disk, whole)).toBe("");
    expect(firstDifference(odd, part)).toBe("");
  });

  function partitionedDisk(name: string, table = TABLE): string {
    const device = site.machine.loopDisk(name, SIZE_BYTES);
    run("losetup", "-d", device);
    const file = site.machine.path(`${name}.img`);
    shell(`printf '${table.replaceAll("\n", "\\n")}' | sfdisk -q '${file}'`);
    const attached = site.machine.attach(file, "--partscan");
    readPartitions(attached);
    return attached;
  }

  function onBoth(work: (folder: string) => void): void {
    for (const number of [1, 2]) {
      const folder = site.machine.mount(`${disk}p${number}`);
      work(folder);
      site.machine.unmount(folder);
    }
  }
});

/** Also where the kernel was built without the partition tables that it would read itself. */
function readPartitions(device: string): void {
  run("partx", "-u", device);
}

/** The names of the disks of the catalogue, in the order in which they came. */
function newestOf(site: Site): { disks: string[] } {
  const { backups } = site.json<{ backups: { disk: string }[] }>("list");
  return { disks: [...new Set(backups.map(({ disk }) => disk))] };
}
