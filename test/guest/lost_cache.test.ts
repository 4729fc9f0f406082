/**
 * What a power cut leaves of a repository on a disk that loses its cache.
 *
 * A guest flushes to a disk whose writes are logged. From the log comes what the disk may hold when
 * the power goes: at any entry, with some of the writes that no flush of the disk has made durable.
 * After each `ibackup flush` the guest writes to the disk's last sector, so that the log tells which
 * backups had been promised by then.
 */
import { truncateSync } from "node:fs";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { guestDisk, runGuest } from "../support/guest.ts";
import { FOLDER, lookInto } from "../support/guest_repository.ts";
import { Machine, run } from "../support/machine.ts";
import { seededRandom } from "../support/random.ts";
import { WriteLog } from "../support/write_log.ts";

const MiB = 1 << 20;
const CUTS = env["IBACKUP_LONG"] === "1" ? 1000 : 25;
/** The file system leaves the end of the disk alone. */
const FILE_SYSTEM_BYTES = 128 * MiB;
const DISK_BYTES = FILE_SYSTEM_BYTES + MiB;
const LAST_SECTOR = DISK_BYTES / 512 - 1;
const BACKUPS = 4;

const SCRIPT = `
export IBACKUP_REPO=file:///mnt/repository/${FOLDER}
mkdir -p /mnt/repository
mount -t ext4 /dev/vdb /mnt/repository
ibackup init --no-encryption
ibackup track start /dev/vda
for number in $(seq ${BACKUPS}); do
  /bin/dd if=/dev/urandom of=/dev/vda bs=64k count=48 seek=$((number * 40)) oflag=direct
  ibackup flush /dev/vda
  /bin/dd if=/dev/zero of=/dev/vdb bs=512 seek=${LAST_SECTOR} count=1 oflag=direct conv=notrunc
done
umount /mnt/repository
`;

describe("a repository on a disk that loses its cache when the power goes", () => {
  const machine = new Machine();
  const random = seededRandom("lost caches");
  const image = machine.path("repository.img");
  const before = machine.path("before.img");
  const newcomer = machine.loopDisk("newcomer", MiB);
  let log: WriteLog;

  beforeAll(() => {
    run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image, "128M");
    truncateSync(image, DISK_BYTES);
    run("cp", "--sparse=always", image, before);
    const writeLog = machine.path("writes.log");
    const { status, stdout, stderr } = runGuest(machine, SCRIPT, {
      disks: [guestDisk(machine, "disk", 16 * MiB), { image, writeLog }],
      programs: ["/bin/dd"],
    });
    expect(status, stdout + stderr).toBe(0);
    log = new WriteLog(writeLog);
  }, 600_000);
  afterAll(() => machine.close());

  test("is as the log of its writes tells", () => {
    const replayed = machine.path("replayed.img");
    run("cp", "--sparse=always", before, replayed);
    log.apply(replayed, log.entries);
    run("cmp", replayed, image);
    expect(promisedAt(log.entries.length)).toBe(BACKUPS);
    expect(log.entries.filter(({ isFlush }) => isFlush).length).toBeGreaterThan(5 * BACKUPS);
  });

  test(`needs no repair and has what was promised, at ${CUTS} moments`, () => {
    const durableImage = machine.path("durable.img");
    const cutImage = machine.path("cut.img");
    run("cp", "--sparse=always", before, durableImage);
    let applied = 0;
    for (const cut of cutsInOrder()) {
      const durable = log.durableCount(cut);
      log.apply(durableImage, log.entries.slice(applied, durable));
      applied = durable;
      run("cp", "--sparse=always", durableImage, cutImage);
      log.apply(cutImage, log.survivors(durable, cut, random));
      expectSound(cutImage, cut);
    }
  }, 7_200_000);

  /** How many backups had been promised when so many entries were logged. */
  function promisedAt(cut: number): number {
    return promises().filter((index) => index < cut).length;
  }

  /** Numbers of the entries that tell of a promise. */
  function promises(): number[] {
    return log.entries.flatMap(({ offsetBytes }, index) =>
      offsetBytes === LAST_SECTOR * 512 ? [index] : [],
    );
  }

  /** Right after each promise, and at random. Ascending. */
  function cutsInOrder(): number[] {
    const cuts = promises().map((index) => index + 1);
    while (cuts.length < CUTS) cuts.push(1 + random.below(log.entries.length));
    return cuts.sort((left, right) => left - right);
  }

  function expectSound(cutImage: string, cut: number): void {
    lookInto(machine, { image: cutImage, folder: FOLDER }, (opened) => {
      const promised = promisedAt(cut);
      if (promised === 0 && !opened.exists()) return;
      expect(opened.backupIds().length, `cut at ${cut}`).toBeGreaterThanOrEqual(promised);
      opened.must("verify", "--data");
      // It can be written to as well, with whatever else was left behind.
      opened.must("flush", newcomer, "--vm", "newcomer");
    });
  }
});
