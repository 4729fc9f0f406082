/** What is in use is not restored to, by whatever name: loop devices claim nothing of what they are on. */
import { linkSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeDevice } from "../../src/disk/block_device.ts";
import { openDeviceTarget } from "../../src/disk/restore_target.ts";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { type RestoreResult, restoreBackup } from "../../src/job/restore.ts";
import { checkPlan, planRestore } from "../../src/job/restore_plan.ts";
import type { RestoreOptions } from "../../src/job/restore_task.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { digestOf, Machine, run, shell } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const SIZE_BYTES = 16 << 20;
const OFF = { changedOnly: false, replay: false, verify: false, partial: false, force: false };

let machine: Machine;
let context: JobContext;
let source: string;
let backup: RestoreOptions["backup"];

beforeAll(async () => {
  machine = new Machine();
  const repository = await newRepository(new MemoryStore());
  context = testContext(machine, { repository, pins: "ibackup_test_in_use" });
  source = machine.loopDisk("source", SIZE_BYTES);
  shell(`openssl rand ${SIZE_BYTES} | dd of=${source} bs=1M oflag=direct status=none`);
  const asked = { base: true, scan: false, consistency: "fuzzy" } as const;
  const { backupId } = await flushDevice(context, { ...asked, device: source, vmId: "vm" });
  backup = { choice: { id: backupId }, scope: {}, vmId: "vm" };
});
afterAll(() => machine.close());

async function restore(
  target: string,
  options: Partial<RestoreOptions> = {},
): Promise<RestoreResult> {
  return await restoreBackup(context, { ...OFF, dryRun: false, backup, target, ...options });
}

/** For real, and where it is only asked whether it could be. */
async function expectRefused(target: string, why: RegExp, options: Partial<RestoreOptions> = {}) {
  for (const dryRun of [true, false]) {
    await expect(restore(target, { ...options, dryRun })).rejects.toMatchObject({
      code: "TARGET_BUSY",
      why: expect.stringMatching(why),
    });
  }
}

/** A disk with an ext4, and the file that it is on. */
function newDisk(name: string): { disk: string; file: string } {
  const disk = machine.loopDisk(name, SIZE_BYTES);
  run("mkfs.ext4", "-q", disk);
  return {
    disk,
    file: readFileSync(`/sys/block/${disk.slice(5)}/loop/backing_file`, "utf8").trim(),
  };
}

describe("a disk", () => {
  test("on which there is a loop device is in use, mounted or not", async () => {
    const { disk } = newDisk("below");
    const above = machine.attach(disk);
    await expectRefused(disk, new RegExp(`the loop device ${above.slice(5)} shows`));
    const folder = machine.mount(above);
    await expectRefused(disk, new RegExp(`^${above} is mounted at ${folder}$`));
    writeFileSync(`${folder}/precious`, "precious");
    run("sync", "-f", folder);
    expect(readFileSync(`${folder}/precious`, "utf8")).toBe("precious");
  });

  test("is in use where the disk or file that it shows is", async () => {
    const { disk, file } = newDisk("shown");
    const over = machine.attach(disk);
    const twin = machine.attach(file);
    await expectRefused(over, /the loop device \w+ shows the same bytes/);
    const folder = machine.mount(disk);
    for (const other of [over, twin]) {
      await expectRefused(other, new RegExp(`^${disk} is mounted at ${folder}$`));
      await expectRefused(other, new RegExp(`^${disk} is mounted at ${folder}$`), { force: true });
    }
  });

  test("that shows the source is the source", async () => {
    const before = digestOf(source);
    const over = machine.attach(source);
    await expectRefused(over, /it is the disk that the backup was taken of/);
    run("losetup", "--detach", over);
    const file = readFileSync(`/sys/block/${source.slice(5)}/loop/backing_file`, "utf8").trim();
    const twin = machine.attach(file);
    await expectRefused(twin, new RegExp(`the loop device ${source.slice(5)} shows`));
    run("losetup", "--detach", twin);
    expect(digestOf(source)).toBe(before);
  });

  test("that is swapped to, or read-only, is refused before anything is written", async () => {
    const swap = machine.loopDisk("swap", SIZE_BYTES);
    run("mkswap", "-q", swap);
    run("swapon", swap);
    try {
      await expectRefused(swap, new RegExp(`^the system swaps to ${swap.slice(5)}$`));
    } finally {
      run("swapoff", swap);
    }
    const image = machine.path("protected.img");
    shell(`truncate -s ${SIZE_BYTES} ${image}`);
    await expectRefused(machine.attach(image, "--read-only"), /^it is read-only$/);
  });

  test("that took the name of another is not written to", async () => {
    const [expected, other] = [newDisk("expected").disk, newDisk("other").disk];
    const before = digestOf(other);
    const device = { ...describeDevice(expected), path: other };
    await expect(
      openDeviceTarget(device, { sizeBytes: SIZE_BYTES, kernel: undefined }),
    ).rejects.toMatchObject({ code: "TARGET_BUSY", why: expect.stringContaining("its place") });
    expect(digestOf(other)).toBe(before);
  });

  test("is what was planned when it is open, not only before", async () => {
    const [planned, precious] = [newDisk("planned").disk, newDisk("precious").disk];
    const before = digestOf(precious);
    const target = machine.path("by-id");
    symlinkSync(planned, target);
    const plan = await planRestore(context, { ...OFF, dryRun: false, backup, target });
    await checkPlan(context, plan);
    unlinkSync(target);
    symlinkSync(precious, target);
    const confirm = (opened?: string) => checkPlan(context, plan, opened);
    await expect(restore(target, { confirm })).rejects.toMatchObject({
      why: "it is not what it was when the restore was planned",
    });
    expect(digestOf(precious)).toBe(before);
    unlinkSync(target);
    symlinkSync(planned, target);
    await restore(target, { confirm });
    expect(digestOf(planned)).toBe(digestOf(source));
  });

  test("with sectors of another size is written to with a warning", async () => {
    const image = machine.path("sectors.img");
    shell(`truncate -s ${SIZE_BYTES} ${image}`);
    const disk = machine.attach(image, "--sector-size", "4096");
    const { losses } = await planRestore(context, { ...OFF, dryRun: false, backup, target: disk });
    expect(losses.at(-1)).toMatch(/sectors of 4096 bytes, where the disk had 512/);
    await restore(disk);
    expect(digestOf(disk)).toBe(digestOf(source));
  });
});

describe("a file in place", () => {
  const inPlace = { changedOnly: true };

  test("is refused while a loop device shows it", async () => {
    const { disk, file } = newDisk("image");
    await expectRefused(file, new RegExp(`the loop device ${disk.slice(5)} shows`), inPlace);
    const folder = machine.mount(disk);
    await expectRefused(file, new RegExp(`^${disk} is mounted at ${folder}$`), inPlace);
  });

  test("is written to by one restore at a time, whatever its names", async () => {
    const [one, other] = [machine.path("one"), machine.path("the-same")];
    shell(`truncate -s ${SIZE_BYTES} ${one}`);
    linkSync(one, other);
    const open = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const confirm = async () => {
      open.resolve();
      await goOn.promise;
    };
    const first = restore(one, { ...inPlace, verify: true, confirm });
    await open.promise;
    await expect(restore(other, inPlace)).rejects.toMatchObject({ code: "LOCKED" });
    goOn.resolve();
    expect(await first).toMatchObject({ verified: true });
    expect(await restore(other, inPlace)).toMatchObject({ bytesWritten: 0 });
  });

  test("needs a name that a file can have", async () => {
    const file = machine.path("image-file");
    writeFileSync(file, "precious");
    for (const target of ["", `${file}/`, `${file}-new/`]) {
      await expectRefused(target, /^that is no name of a file$/);
    }
    await expect(restore(`${file}/within`)).rejects.toMatchObject({ code: "IO" });
    expect(readFileSync(file, "utf8")).toBe("precious");
  });
});
