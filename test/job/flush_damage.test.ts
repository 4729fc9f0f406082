import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JobContext } from "../../src/job/context.ts";
import { flushDevice } from "../../src/job/flush.ts";
import { restoreBackup } from "../../src/job/restore.ts";
import { stopTracking } from "../../src/job/track.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { backupOf, newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

let machine: Machine;
let store: MemoryStore;
let repository: Repository;
let context: JobContext;
let disk: string;

beforeEach(async () => {
  machine = new Machine();
  store = new MemoryStore();
  repository = await newRepository(store);
  context = testContext(machine, { repository, pins: "ibackup_test_damage" });
  disk = machine.loopDisk("disk", 16 << 20);
  run("dd", "if=/dev/urandom", `of=${disk}`, "bs=1M", "count=8", "oflag=direct", "status=none");
});
afterEach(async () => {
  await stopTracking(context, []);
  machine.close();
});

async function flush(scan = false) {
  const asked = { base: false, scan, consistency: "fuzzy" } as const;
  return await flushDevice(context, { ...asked, device: disk, vmId: "vm" });
}

async function expectRestorable(backupId: string): Promise<void> {
  const target = machine.path(`${backupId}.img`);
  const backup = { choice: { id: backupId }, scope: {}, vmId: "vm" };
  const how = { changedOnly: false, replay: false, verify: false, partial: false };
  await restoreBackup(context, { ...how, dryRun: false, force: false, backup, target });
  expect(digestOf(target)).toBe(digestOf(disk));
}

async function keyIn(folder: string): Promise<string> {
  for await (const { key } of store.list(folder)) return key;
  throw new Error(`nothing in ${folder}`);
}

describe("a flush in a repository that is damaged", () => {
  test("takes a base when the chain of the newest backup is broken", async () => {
    await flush();
    await store.delete(await keyIn("manifests/"));
    const orphanless = await flush();
    expect(orphanless.type).toBe("base");
    const child = await flush();
    expect(child.type).toBe("incremental");
    await store.delete((await backupOf(repository, orphanless.backupId)).key);
    const after = await flush();
    expect(after.type).toBe("base");
    expect(after.gapCheck.reason).toContain("chain of the newest backup is broken");
    await expectRestorable(after.backupId);
  });

  test("stores again what is damaged when it scans, so that the chain is whole again", async () => {
    await flush();
    await store.delete(await keyIn("packs/"));
    const healed = await flush(true);
    expect(healed.gapCheck.verdict).toBe("compared");
    expect(healed.blocksChanged).toBe(2048);
    await expectRestorable(healed.backupId);
  });
});
