import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { describeDevice } from "../../src/disk/block_device.ts";
import { freezeTargets } from "../../src/disk/mounts.ts";
import { drain, freeze, thaw } from "../../src/tracker/freezer.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";
import { arrangeThaw, isWritable, ProbeWrite } from "../support/freezing.ts";
import { Machine, run } from "../support/machine.ts";

const HELPER = join(import.meta.dirname, "../../helper/.output/ibackup-helper");

let machine: Machine;
let helper: HelperProcess;
beforeEach(() => {
  machine = new Machine();
  helper = new HelperProcess({ path: HELPER });
});
afterEach(async () => {
  await helper.close();
  machine.close();
});

function makeFileSystem(kind: string): { disk: string; folder: string } {
  const disk = machine.loopDisk("disk", 320 << 20);
  run(`mkfs.${kind}`, "-q", disk);
  const folder = machine.mount(disk);
  arrangeThaw(machine, folder);
  return { disk, folder };
}

test.for(["ext4", "xfs", "btrfs"])("%s is frozen, drained and thawed", async (kind) => {
  const { disk, folder } = makeFileSystem(kind);
  const device = describeDevice(disk);
  const startedAt = performance.now();
  const frozen = await freeze(helper, freezeTargets(device), 10_000);
  expect(frozen).toMatchObject([{ mountpoint: folder, fileSystem: kind, outcome: "frozen" }]);
  const write = new ProbeWrite(folder);
  await write.hangs();
  expect(await drain(helper, device.wholeDisk, 1000)).toBe(true);

  const { frozenMs, expired } = await thaw(helper);
  expect(expired).toBe(false);
  expect(frozenMs).toBeGreaterThan(frozen[0]?.freezeMs ?? Number.NaN);
  expect(frozenMs).toBeLessThan(performance.now() - startedAt);
  await write.through(1000);
});

test("what the limit has thawed is told as expired, and can be frozen again", async () => {
  const { disk, folder } = makeFileSystem("ext4");
  const targets = freezeTargets(describeDevice(disk));
  await freeze(helper, targets, 300);
  const write = new ProbeWrite(folder);
  await write.hangs();
  await write.through(1300);
  const first = await thaw(helper);
  expect(first.expired).toBe(true);
  expect(first.frozenMs).toBeGreaterThanOrEqual(300);
  expect(first.frozenMs).toBeLessThan(1300);
  expect(await thaw(helper)).toEqual(first);

  await freeze(helper, targets, 10_000);
  expect(await thaw(helper)).toMatchObject({ expired: false });
  expect(await isWritable(folder)).toBe(true);
});

test("a limit that passes before all are frozen leaves nothing frozen", async () => {
  const { disk, folder } = makeFileSystem("ext4");
  const targets = freezeTargets(describeDevice(disk));
  run("dd", "if=/dev/urandom", `of=${join(folder, "dirty")}`, "bs=1M", "count=100", "status=none");
  await expect(freeze(helper, targets, 1)).rejects.toMatchObject({ code: "CONSISTENCY" });
  expect(await isWritable(folder)).toBe(true);
  expect(await thaw(helper)).toMatchObject({ expired: true });
});
