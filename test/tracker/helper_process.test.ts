import { readFileSync } from "node:fs";
import { join } from "node:path";
import { execPath } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { describeDevice } from "../../src/disk/block_device.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";
import { attach, collect, detach, readTrackingStatus } from "../../src/tracker/tracker.ts";
import { Machine, run } from "../support/machine.ts";

const ROOT = join(import.meta.dirname, "../..");
const HELPER = join(ROOT, "helper/.output/ibackup-helper");
const PROXY = join(ROOT, "test/support/damaging_proxy.ts");
const PINS = "/sys/fs/bpf/ibackup-test-helper-process";

let machine: Machine;
beforeEach(() => {
  machine = new Machine();
});
afterEach(() => machine.close());

function start(damagedFrame?: number): HelperProcess {
  const args = ["--pins", PINS];
  const options =
    damagedFrame === undefined
      ? { path: HELPER, args }
      : { path: execPath, args: [PROXY, String(damagedFrame), HELPER, ...args] };
  const helper = new HelperProcess(options);
  machine.onClose(() => void helper.close());
  return helper;
}

describe("HelperProcess", () => {
  test("asks again when a frame of an answer arrives damaged", async () => {
    const helper = start(1);
    const { frames, damaged } = await helper.ask({ name: "statusRequest", fields: {} });
    expect(damaged).toBe(false);
    expect(frames.map(({ name }) => name)).toEqual(["session", "done"]);
    await helper.close();
  });

  test("fails in words when the helper is gone", async () => {
    const helper = new HelperProcess({ path: "/bin/false" });
    await expect(helper.ask({ name: "helloRequest", fields: {} })).rejects.toMatchObject({
      code: "TRACKER",
      why: "it ended with status 1",
    });
  });

  test("answers requests that were made at once, each with its own answer", async () => {
    const helper = start();
    const disk = machine.loopDisk("disk", 1 << 20);
    const [hello, geometry] = await Promise.all([
      helper.askOne({ name: "helloRequest", fields: {} }, "hello"),
      helper.askOne({ name: "geometryRequest", fields: {}, tail: disk }, "geometry"),
    ]);
    expect(hello.name).toBe("hello");
    expect(geometry.fields.sizeBytes).toBe(1 << 20);
    await helper.close();
  });

  test("lets only one process hold a lock, and gives it up with its helper", async () => {
    const tail = machine.path("lock");
    const fields = { shared: 0, waitMs: 100 };
    const lock = { name: "lockRequest", fields, tail } as const;
    const [first, second] = [start(), start()];
    await first.ask(lock);
    await expect(second.ask(lock)).rejects.toMatchObject({ code: "LOCKED" });
    await first.close();
    await second.ask(lock);
    await second.close();
  });
});

describe("collect()", () => {
  // Whichever frame is lost, no block may be: the pending file has them all.
  test.each([3, 4, 5])("finds every block when frame %i arrives damaged", async (frame) => {
    const disk = machine.loopDisk("disk", 16 << 20);
    const plain = start();
    const slot = await attach(plain, describeDevice(disk), ["block"]);
    machine.onClose(() => run("rm", "-rf", PINS));
    const { session } = await readTrackingStatus(plain);
    run("dd", "if=/dev/urandom", `of=${disk}`, "bs=4k", "seek=7", "count=3", "oflag=direct");

    const pending = machine.path("pending.bits");
    run("truncate", "-s", String(16 << 5), pending);
    const helper = start(frame);
    await readTrackingStatus(helper);
    const collected = await collect(helper, { slot, session: session?.id ?? "" }, [pending]);
    if (collected.blocks) {
      expect([...collected.blocks.extents()]).toEqual([{ firstBlock: 7, blockCount: 3 }]);
    }
    expect(readFileSync(pending).readUInt16LE(0)).toBe(0b11_1000_0000);
    expect(collected.slot.dirtyBlocks).toBe(0);
    await helper.close();
    await detach(plain, undefined);
    await plain.close();
  });
});
