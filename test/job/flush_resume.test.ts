/** Flushes that go on with what one before them has stored. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { LEASE_MS } from "../../src/core/lease.ts";
import { type FlushResult, flushDevice } from "../../src/job/flush.ts";
import { collectGarbage } from "../../src/repo/garbage.ts";
import {
  createRepository,
  openRepository,
  type Repository,
  type RepositoryKeys,
} from "../../src/repo/repository.ts";
import type { PutOptions, Store } from "../../src/store/store.ts";
import { backupOf, chainTo, restore, seededRandom } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { FaultStore } from "../support/fault_store.ts";
import { Machine, run } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const MIB = 1 << 20;
const DISK_BYTES = 88 * MIB;
/** Does not compress. */
const NOISE_BYTES = 80 * MIB;
/** Of all objects that are not frames, and of what packs add to those. */
const OVERHEAD_BYTES = MIB / 2;
const FRAME_BYTES = 64 * 4096;

/** Wraps by turning each bit: what age does is not in question here. */
const KEYS: RepositoryKeys = {
  hasIdentity: true,
  wrap: async (dataKey) => dataKey.map((byte) => byte ^ 0xff),
  unwrap: async (wrapped) => wrapped.map((byte) => byte ^ 0xff),
};

class CountingStore extends MemoryStore {
  packBytes = 0;

  override async put(key: string, body: Uint8Array, options?: PutOptions): Promise<void> {
    await super.put(key, body, options);
    if (key.startsWith("packs/")) this.packBytes += body.length;
  }
}

let machine: Machine;
let disk: string;
let store: CountingStore;

beforeEach(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", DISK_BYTES);
  run("dd", "if=/dev/urandom", `of=${disk}`, "bs=1M", "count=80", "oflag=direct", "status=none");
  store = new CountingStore();
});
afterEach(() => machine.close());

async function flush(through: Store = store): Promise<FlushResult> {
  const repository = await openRepository(through, () => KEYS);
  const context = testContext(machine, { repository, pins: "ibackup_test_resume" });
  const asked = { base: false, scan: false, consistency: "fuzzy" } as const;
  return await flushDevice(context, { ...asked, vmId: "vm", diskName: "disk", device: disk });
}

/** As when the network dies, or the process, right before a put. */
async function flushUpToPut(nth: number): Promise<FlushResult | undefined> {
  const dying = new FaultStore(store, { nth, fault: "fail", onwards: true, calls: ["put"] });
  return await flush(dying).catch((error: unknown) => {
    if (!dying.fired) throw error;
    return undefined;
  });
}

async function make(recipient: string | undefined): Promise<Repository> {
  const options = { id: crypto.randomUUID(), createdAt: new Date(), recipient };
  return await createRepository(store, options, () => KEYS);
}

function change(byte: number): void {
  const file = openSync(disk, "r+");
  writeSync(file, randomBytes(4096), 0, 4096, byte - (byte % 4096));
  closeSync(file);
  run("blockdev", "--flushbufs", disk);
}

async function expectRestored(repository: Repository, backupId: string): Promise<void> {
  const backup = await backupOf(repository, backupId);
  const restored = await restore(repository, await chainTo(repository, backup));
  expect(Buffer.compare(restored, readFileSync(disk))).toBe(0);
}

describe.each([
  ["in clear", undefined],
  ["sealed", "age1x"],
])("a base that broke off again and again, %s", (_, recipient) => {
  test("sends what is stored and did not change only once", { timeout: 120_000 }, async () => {
    const repository = await make(recipient);
    const seed = Date.now() % 2 ** 31;
    const random = seededRandom(seed);
    let done: FlushResult | undefined;
    let changes = 0;
    for (let nth = 3; done === undefined; nth = 2 + random(2)) {
      done = await flushUpToPut(nth);
      if (done) break;
      // While the lease of a flush looks alive, gc leaves what it has stored.
      await collectGarbage(repository, { graceMs: 0, dryRun: false, own: "" });
      change(random(NOISE_BYTES));
      changes += 1;
    }
    expect(changes, `seed ${seed}`).toBeGreaterThan(1);
    await expectRestored(repository, done.backupId);
    const most = NOISE_BYTES + changes * FRAME_BYTES + OVERHEAD_BYTES;
    expect(store.packBytes, `seed ${seed}`).toBeLessThan(most);
    expect([...store.objects.keys()].filter((key) => key.startsWith("leases/"))).toEqual([]);
    // Nothing of it is taken for the next one.
    expect(await flush()).toMatchObject({ type: "incremental", blocksChanged: 0 });
  });
});

describe("what gc has removed meanwhile", () => {
  test("is stored again", { timeout: 60_000 }, async () => {
    const repository = await make(undefined);
    expect(await flushUpToPut(4)).toBeUndefined();
    const before = store.packBytes;
    expect(before).toBeGreaterThan(32 * MIB);
    store.now = () => Date.now() + 3 * LEASE_MS;
    await collectGarbage(repository, { graceMs: 0, dryRun: false, own: "" });
    expect([...store.objects.keys()].filter((key) => key.startsWith("packs/"))).toEqual([]);
    const { backupId } = await flush();
    await expectRestored(repository, backupId);
    expect(store.packBytes).toBeGreaterThan(before + NOISE_BYTES);
  });

  test("is noticed where only a pack is gone", { timeout: 60_000 }, async () => {
    const repository = await make("age1x");
    expect(await flushUpToPut(4)).toBeUndefined();
    const [lost] = [...store.objects.keys()].filter((key) => key.startsWith("packs/"));
    store.objects.delete(lost ?? "");
    const { backupId } = await flush();
    await expectRestored(repository, backupId);
    expect(store.packBytes).toBeLessThan(NOISE_BYTES + 17 * MIB);
  });
});
