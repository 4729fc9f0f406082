import { pid } from "node:process";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { openLedger } from "../../src/job/pending_ledger.ts";
import { openSourceDisk } from "../../src/job/source_disk.ts";
import { startTracking, stopTracking } from "../../src/job/track.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { Machine, run } from "../support/machine.ts";
import { childrenOf, commandOf, signal } from "../support/processes.ts";
import { raiseTaint } from "../support/taint.ts";

const DISK_BYTES = 16 << 20;
const PINS = "ibackup_test_trust";
const PIN_FOLDER = `/sys/fs/bpf/${PINS}`;

let machine: Machine;
let disk: string;
let otherDisk: string;
let repository: Repository;
let context: JobContext;

beforeAll(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", DISK_BYTES);
  // Keeps the session when the disk's own tracking is stopped.
  otherDisk = machine.loopDisk("other", DISK_BYTES);
});
afterAll(() => machine.close());

beforeEach(async () => {
  repository = await newRepository();
  context = testContext(machine, { repository, pins: PINS });
});
afterEach(() => stopTracking(context, []));

async function flush() {
  const asked = { base: false, scan: false, consistency: "fuzzy" } as const;
  return await flushDevice(context, { ...asked, device: disk, vmId: "vm", diskName: "disk" });
}

function writeDirect(path: string, firstBlock: number): void {
  run("dd", "if=/dev/urandom", `of=${path}`, "bs=4k", `seek=${firstBlock}`, "count=1", ...HOW);
}
const HOW = ["oflag=direct", "conv=notrunc", "status=none"];

describe("flush", () => {
  test("does not trust hook buffer alone, which O_DIRECT passes by", async () => {
    await startTracking(context, [disk], ["buffer"]);
    await flush();
    writeDirect(disk, 7);
    const incremental = await flush();
    expect(incremental.gapCheck).toEqual({
      verdict: "compared",
      reason: "hook buffer alone does not see every write; compared by digests",
    });
    expect(incremental).toMatchObject({ blocksChanged: 1, consistency: "fuzzy" });
  });

  test("fails when its helper, which has the lock, dies while it is asked what is tracked", async () => {
    await startTracking(context, [disk], ["block"]);
    await flush();
    const { ask } = HelperProcess.prototype;
    const asking = vi.spyOn(HelperProcess.prototype, "ask");
    asking.mockImplementation(function (this: HelperProcess, request, options) {
      if (request.name === "statusRequest") {
        for (const child of childrenOf(pid)) {
          if (commandOf(child).includes(PIN_FOLDER)) signal(child, "SIGKILL");
        }
      }
      return ask.call(this, request, options);
    });
    await expect(flush()).rejects.toMatchObject({
      code: "TRACKER",
      why: "it ended with SIGKILL",
    });
    asking.mockRestore();
    expect(await flush()).toMatchObject({ gapCheck: { verdict: "trusted" } });
  });

  test("compares once when another medium took the name, then trusts again", async () => {
    await startTracking(context, [disk], ["block"]);
    await flush();
    const image = machine.path("other-medium.img");
    run("truncate", "-s", `${DISK_BYTES}`, image);
    writeDirect(image, 3);
    run("losetup", "-d", disk);
    run("losetup", "--direct-io=on", disk, image);
    try {
      const reason = "another medium is in the device; compared by digests";
      expect((await flush()).gapCheck).toEqual({ verdict: "compared", reason });
      expect((await flush()).gapCheck.verdict).toBe("trusted");
    } finally {
      run("losetup", "-d", disk);
      run("losetup", "--direct-io=on", disk, machine.path("disk.img"));
    }
  });

  test("leaves the dirty blocks to the runtime folder that the disk was attached from", async () => {
    await startTracking(context, [disk], ["block"]);
    await flush();
    writeDirect(disk, 5);
    const elsewhere = { ...context, runtimeDir: () => machine.path("") };
    const stranger = { device: disk, vmId: "stranger", base: false, scan: false } as const;
    const other = await flushDevice(elsewhere, { ...stranger, consistency: "fuzzy" });
    expect(other.consistency).toBe("fuzzy");
    expect(await flush()).toMatchObject({ gapCheck: { verdict: "trusted" }, blocksChanged: 1 });

    const { already } = await startTracking(elsewhere, [disk], ["block"]);
    expect(already).toEqual([]);
    expect((await flush()).gapCheck.verdict).toBe("compared");
  });

  test("tells the taints of this tracking, whatever those of the one before were", async () => {
    const hooks = ["block"] as const;
    const { devices } = await startTracking(context, [disk], hooks);
    for (let i = 0; i < 2; i++) raiseTaint(PIN_FOLDER, devices[0]?.slot ?? 0, "updates failed");
    await flush();
    await stopTracking(context, []);
    const again = await startTracking(context, [disk], hooks);
    expect((await flush()).taints).toEqual([]);
    await stopTracking(context, []);
    await startTracking(context, [disk], hooks);
    raiseTaint(PIN_FOLDER, again.devices[0]?.slot ?? 0, "ranges not marked");
    expect((await flush()).taints).toMatchObject([{ reason: "ranges not marked" }]);
  });

  test("fails when tracking was stopped and started again under it", async () => {
    await startTracking(context, [otherDisk, disk], ["block"]);
    const source = await openSourceDisk(context, disk);
    try {
      const ledger = openLedger(context, { disk: source, repository, parent: undefined });
      await ledger?.collect();
      await stopTracking(context, [disk]);
      writeDirect(disk, 9);
      await startTracking(context, [disk], ["block"]);
      await expect(ledger?.collect()).rejects.toMatchObject({
        code: "TRACKER",
        why: "its tracking was stopped and started again meanwhile",
      });
    } finally {
      await source.close();
    }
  });
});
