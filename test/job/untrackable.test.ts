import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type BlockDevice, describeDevice } from "../../src/disk/block_device.ts";
import { refuseUntrackable } from "../../src/job/track.ts";
import { Machine } from "../support/machine.ts";

let machine: Machine;
let ordinary: BlockDevice;
const nvme = { name: "nvme0n1", major: 259, minor: 0 };

// Not sooner: where all tests are filtered out, nothing would undo it.
beforeAll(() => {
  machine = new Machine();
  ordinary = describeDevice(machine.loopDisk("disk", 1 << 20));
});
afterAll(() => machine.close());

describe("refuseUntrackable()", () => {
  test("lets ordinary disks pass, NVMe disks of one path too", () => {
    expect(() => refuseUntrackable(ordinary)).not.toThrow();
    expect(() => refuseUntrackable({ ...ordinary, wholeDisk: nvme })).not.toThrow();
  });

  const refused: Record<string, Partial<BlockDevice>> = {
    "a DAX device": { dax: true },
    "a zoned disk (host-managed)": { zoned: "host-managed" },
    "an NVMe disk of several paths": { bioBased: true, wholeDisk: nvme },
  };
  for (const [reason, facts] of Object.entries(refused)) {
    test(`refuses ${reason}`, () => {
      const why = expect.stringContaining(reason) as string;
      const error = expect.objectContaining({ code: "UNSUPPORTED", why }) as Error;
      expect(() => refuseUntrackable({ ...ordinary, ...facts })).toThrow(error);
    });
  }
});
