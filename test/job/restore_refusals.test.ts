import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { restoreBackup } from "../../src/job/restore.ts";
import { BLOCK_BYTES, content, newRepository, takeBackup } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { digestOf, Machine, run, shell } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const store = new MemoryStore();
const OFF = {
  changedOnly: false,
  replay: false,
  verify: false,
  partial: false,
  dryRun: false,
  force: false,
};

let machine: Machine;
let context: JobContext;

beforeAll(async () => {
  machine = new Machine();
  const repository = await newRepository(store);
  context = testContext(machine, { repository, pins: "ibackup_test_refusals" });
});
afterAll(() => machine.close());

const chosen = (id: string) => ({ choice: { id }, scope: {}, vmId: "vm" });

describe("restore", () => {
  test("refuses a partition that was backed up, and the disk that it is on", async () => {
    const image = machine.path("disk.img");
    shell(`truncate -s 32M ${image}; printf '2048,16384\\n' | sfdisk -q -X gpt ${image}`);
    const disk = machine.attach(image);
    // Not every kernel reads partition tables by itself.
    run("partx", "--add", disk);
    machine.onClose(() => run("partx", "--delete", disk));
    const partition = `${disk}p1`;
    const asked = { base: true, scan: false, consistency: "fuzzy" } as const;
    const { backupId } = await flushDevice(context, { ...asked, device: partition, vmId: "vm" });
    const options = { ...OFF, backup: chosen(backupId) };
    for (const target of [disk, partition]) {
      for (const dryRun of [false, true]) {
        await expect(restoreBackup(context, { ...options, target, dryRun })).rejects.toMatchObject({
          code: "TARGET_BUSY",
          why: "it is the disk that the backup was taken of, and all on it would be overwritten",
        });
      }
    }
  });

  test("lets a copy be restored to again, although it has the partition table of its source", async () => {
    const image = machine.path("source.img");
    shell(`truncate -s 8M ${image}; printf '2048,\\n' | sfdisk -q -X gpt ${image}`);
    const disk = machine.attach(image);
    const copy = machine.loopDisk("copy", 8 << 20);
    const asked = { base: true, scan: false, consistency: "fuzzy" } as const;
    const { backupId } = await flushDevice(context, { ...asked, device: disk, vmId: "vm" });
    const options = { ...OFF, backup: chosen(backupId), target: copy };
    await restoreBackup(context, options);
    await restoreBackup(context, options);
    expect(digestOf(copy)).toBe(digestOf(disk));
    await expect(restoreBackup(context, { ...options, target: disk })).rejects.toMatchObject({
      code: "TARGET_BUSY",
    });
  });

  test("knows its source by another name, and by a partition table that it had not", async () => {
    const image = machine.path("renamed.img");
    shell(`truncate -s 8M ${image}; printf '2048,\\n' | sfdisk -q ${image}`);
    const bare = machine.loopDisk("bare", 8 << 20);
    const disk = machine.attach(image);
    const asked = { base: true, scan: false, consistency: "fuzzy", vmId: "vm" } as const;
    const { backupId } = await flushDevice(context, { ...asked, device: disk });
    // As two disks that change places when the machine starts.
    run("losetup", "--detach", disk);
    shell(`truncate -s 8M ${image}-other; losetup --direct-io=on ${disk} ${image}-other`);
    const renamed = machine.attach(image);
    const isRefused = async () =>
      await expect(
        restoreBackup(context, { ...OFF, backup: chosen(backupId), target: renamed }),
      ).rejects.toMatchObject({ code: "TARGET_BUSY", why: expect.stringContaining("taken of") });
    await isRefused();
    run("losetup", "--detach", disk);
    await isRefused();

    const { backupId: bareId } = await flushDevice(context, { ...asked, device: bare });
    shell(`printf '2048,\\n' | sfdisk -q ${bare}`);
    await expect(
      restoreBackup(context, { ...OFF, backup: chosen(bareId), target: bare }),
    ).rejects.toMatchObject({ code: "TARGET_BUSY", why: expect.stringContaining("taken of") });
  });

  test("makes no file in the place of a device that is not there", async () => {
    const repository = await context.openRepository();
    const { manifest } = await takeBackup(repository, { blockCount: 1 }, [
      { firstBlock: 0, blockCount: 1 },
    ]);
    const options = { ...OFF, backup: chosen(manifest.backupId), target: "/dev/ibackup-none" };
    await expect(restoreBackup(context, options)).rejects.toMatchObject({ code: "DEVICE" });
    expect(existsSync(options.target)).toBe(false);
  });

  test("names every block that a missing pack takes away", async () => {
    const lossy = new MemoryStore();
    const repository = await newRepository(lossy);
    const backup = await takeBackup(repository, { blockCount: 300 }, [
      { firstBlock: 0, blockCount: 10 },
      { firstBlock: 10, blockCount: 290, bytes: content(290, 1) },
    ]);
    const { manifest } = backup;
    const [index] = manifest.indexes;
    const { packs } = await repository.indexes.read(manifest, index!);
    for (const { name } of packs) await lossy.delete(`packs/${name.slice(0, 2)}/${name}`);
    const target = machine.path("partial.img");
    const { damaged, bytesWritten, verified } = await restoreBackup(
      { ...context, openRepository: async () => repository },
      { ...OFF, partial: true, verify: true, backup: chosen(manifest.backupId), target },
    );
    // Not all of it is there.
    expect(verified).toBe(false);
    expect(damaged).toHaveLength(1);
    expect(damaged[0]?.extents).toEqual([{ firstBlock: 10, blockCount: 290 }]);
    expect(bytesWritten % BLOCK_BYTES).toBe(0);
  });
});
