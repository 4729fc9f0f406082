/** Which devices exclude each other. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { describeDevice, devicesBelow } from "../../src/disk/block_device.ts";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { restoreBackup } from "../../src/job/restore.ts";
import { openSourceDisk, type SourceDisk } from "../../src/job/source_disk.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { digestOf, Machine, run, shell } from "../support/machine.ts";

let machine: Machine;
let context: JobContext;
/** A disk of two partitions. */
let disk: string;
const held: SourceDisk[] = [];

beforeAll(async () => {
  machine = new Machine();
  const repository = await newRepository();
  context = testContext(machine, { repository, pins: "ibackup_test_device_lock" });
  const image = machine.path("disk.img");
  shell(`truncate -s 32M ${image}; printf '2048,16384\\n,16384\\n' | sfdisk -q -X gpt ${image}`);
  disk = machine.attach(image);
  // Not every kernel reads partition tables by itself.
  run("partx", "--add", disk);
  machine.onClose(() => run("partx", "--delete", disk));
});
afterAll(() => machine.close());
afterEach(async () => {
  for (const source of held.splice(0)) await source.close();
});

async function hold(device: string): Promise<void> {
  held.push(await openSourceDisk(context, device));
}

const LOCKED = { code: "LOCKED", why: expect.stringContaining("another ibackup") };

test("two partitions of a disk can be worked on at once", async () => {
  await hold(`${disk}p1`);
  await hold(`${disk}p2`);
});

test("nobody works on a disk and on a partition of it at once", async () => {
  await hold(`${disk}p1`);
  await expect(hold(disk)).rejects.toMatchObject(LOCKED);
  await expect(hold(`${disk}p1`)).rejects.toMatchObject(LOCKED);
  await held.pop()?.close();
  await hold(disk);
  await expect(hold(`${disk}p2`)).rejects.toMatchObject(LOCKED);
});

test("a disk is not overwritten while a partition of it is backed up, nor the other way round", async () => {
  const source = machine.loopDisk("source", 4 << 20);
  const asked = { base: true, scan: false, consistency: "fuzzy", vmId: "vm" } as const;
  const { backupId } = await flushDevice(context, { ...asked, device: source });
  const off = { changedOnly: false, replay: false, verify: false, partial: false, dryRun: false };
  const backup = { choice: { id: backupId }, scope: {}, vmId: "vm" };
  const restore = (target: string) =>
    restoreBackup(context, { ...off, backup, target, force: true });

  await hold(`${disk}p2`);
  const before = digestOf(disk);
  await expect(restore(disk)).rejects.toMatchObject(LOCKED);
  expect(digestOf(disk)).toBe(before);
  await restore(`${disk}p1`);
  await held.pop()?.close();
  await hold(disk);
  await expect(restore(`${disk}p1`)).rejects.toMatchObject(LOCKED);
});

test("a device lies on its whole disk, and a whole disk on nothing", () => {
  const { major, minor } = describeDevice(disk);
  expect(devicesBelow(describeDevice(`${disk}p2`))).toEqual([{ major, minor }]);
  expect(devicesBelow(describeDevice(disk))).toEqual([]);
});
