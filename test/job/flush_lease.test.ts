/** Flushes of machines that share a repository, and of one whose clock is wrong. */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LEASE_MS, type Leaseholder } from "../../src/core/lease.ts";
import { diskTagOf } from "../../src/core/manifest_key.ts";
import type { JobContext } from "../../src/job/context.ts";
import { DiskLease, takeLease } from "../../src/job/disk_lease.ts";
import { type FlushResult, flushDevice } from "../../src/job/flush.ts";
import { describeLeaseholder } from "../../src/job/leaseholder.ts";
import { startTracking, stopTracking } from "../../src/job/track.ts";
import { acquireLease, type HeldLease } from "../../src/repo/lease.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { newRepository } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { Machine, run } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const TAG = diskTagOf({ vmId: "vm", diskName: "disk" }, sha256Hex);
const MINUTE = 60_000;
const YEAR = 365 * 24 * 60 * MINUTE;

let machine: Machine;
let disk: string;
let store: MemoryStore;
let repository: Repository;
let context: JobContext;
let nowMs: number;
let told: string[];

beforeAll(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 8 << 20);
  run("dd", "if=/dev/urandom", `of=${disk}`, "bs=1M", "count=4", "oflag=direct", "status=none");
});
afterAll(() => machine.close());

beforeEach(async () => {
  store = new MemoryStore();
  repository = await newRepository(store);
  nowMs = Date.parse("2026-11-22T12:00:00Z");
  told = [];
  const plain = testContext(machine, { repository, pins: "ibackup_test_lease" });
  context = {
    ...plain,
    clock: { ...plain.clock, now: () => new Date(nowMs) },
    progress: { ...plain.progress, message: (text) => told.push(text) },
  };
});

async function flush(waitMs = 0): Promise<FlushResult> {
  const asked = { base: false, scan: false, consistency: "fuzzy" } as const;
  const names = { vmId: "vm", diskName: "disk" };
  return await flushDevice(context, { ...asked, ...names, device: disk, waitMs });
}

const holder = (hostName: string): Leaseholder => ({
  holder: randomBytes(16).toString("hex"),
  machine: hostName,
  hostName,
  bootId: "boot",
  lockFile: "1:2",
  pid: 4711,
  process: "",
});

/** Another machine begins a flush. */
async function holdElsewhere(by = holder("web-2")): Promise<HeldLease> {
  const now = () => new Date(nowMs);
  const hasEnded = () => false;
  const answer = await acquireLease(store, { diskTag: TAG, holder: by, now, hasEnded });
  if ("held" in answer) return answer.held;
  throw new Error("somebody has it");
}

const leaseCount = () =>
  [...store.objects.keys()].filter((key) => key.startsWith("leases/")).length;

describe("a flush of a disk that another machine is backing up", () => {
  test("is refused until that has ended, or is known to have died", async () => {
    await holdElsewhere();
    await expect(flush()).rejects.toMatchObject({
      code: "LOCKED",
      message: 'Cannot back up disk "disk" of "vm"',
      why: 'ibackup on host "web-2" (process 4711) has been backing up disk "disk" of "vm" since 2026-11-22T12:00:00.000Z; its lease ends at 2026-11-22T12:05:00.000Z unless it is renewed',
    });
    nowMs += LEASE_MS + MINUTE - 1;
    await expect(flush()).rejects.toMatchObject({ code: "LOCKED" });
    nowMs += 1;
    expect(await flush()).toMatchObject({ type: "base" });
    expect(leaseCount()).toBe(0);
  });

  test("waits for it, and continues what that has committed", async () => {
    const held = await holdElsewhere();
    const waiting = flush(Number.POSITIVE_INFINITY);
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    expect(told[0]).toMatch(/^waiting: ibackup on host "web-2"/);
    const runtimeFolder = mkdtempSync(machine.path("elsewhere-"));
    const otherDisk = machine.loopDisk("other", 8 << 20);
    await held.release();
    const elsewhere = {
      ...context,
      runtimeDir: () => runtimeFolder,
      cacheDir: () => runtimeFolder,
    };
    const names = { vmId: "vm", diskName: "disk", base: false, scan: false } as const;
    const theirs = flushDevice(elsewhere, {
      ...names,
      device: otherDisk,
      consistency: "fuzzy",
      waitMs: MINUTE,
    });
    const both = [await waiting, await theirs];
    both.sort(
      (left, right) => (left.parentId === null ? -1 : 1) - (right.parentId === null ? -1 : 1),
    );
    expect(both.map(({ type }) => type)).toEqual(["base", "incremental"]);
    expect(both[1]?.parentId).toBe(both[0]?.backupId);
  });

  test("is interrupted while it waits", async () => {
    await holdElsewhere();
    const control = new AbortController();
    context = { ...context, signal: control.signal };
    const waiting = flush(Number.POSITIVE_INFINITY);
    const ended = expect(waiting).rejects.toThrow("enough");
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    control.abort(new Error("enough"));
    await ended;
    expect(leaseCount()).toBe(1);
  });

  test("gives its own lease back when it fails", async () => {
    const asked = { base: false, scan: false, vmId: "vm", diskName: "disk" } as const;
    const quiet = { ...asked, device: disk, consistency: "quiet" } as const;
    await expect(flushDevice(context, quiet)).rejects.toMatchObject({ code: "CONSISTENCY" });
    expect(leaseCount()).toBe(0);
  });
});

describe("a lease by a process of this machine that has another lock", () => {
  type Change = (mine: Leaseholder) => Partial<Leaseholder>;

  async function leave(change: Change): Promise<void> {
    const mine = { ...describeLeaseholder(context, disk), lockFile: "1:2" };
    await holdElsewhere({ ...mine, ...change(mine) });
  }

  test.each<{ what: string; change: Change }>([
    { what: "has ended", change: () => ({ pid: spawnSync("true").pid }) },
    {
      what: "had its pid before another one",
      change: (mine) => ({ process: mine.process.replace(/ .*/, " 1") }),
    },
  ])("keeps nobody out when that $what", async ({ change }) => {
    await leave(change);
    expect(await flush()).toMatchObject({ type: "base" });
  });

  test.each<{ what: string; change: Change }>([
    { what: "lives", change: () => ({}) },
    {
      what: "is one of a container",
      change: () => ({ pid: spawnSync("true").pid, process: "pid:[1] 1" }),
    },
  ])("is respected when that $what", async ({ change }) => {
    await leave(change);
    await expect(flush()).rejects.toMatchObject({ code: "LOCKED" });
  });
});

describe("the lease of a flush", () => {
  const wish = () => ({
    disk: "a disk",
    diskTag: TAG,
    holder: holder("web-1"),
    now: () => new Date(nowMs),
    hasEnded: () => false,
    waitMs: 0,
  });

  /** Resolves when so many more leases were put. */
  function puts(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = count;
    const putIfAbsent = store.putIfAbsent.bind(store);
    store.putIfAbsent = async (key, body) => {
      const done = await putIfAbsent(key, body);
      left -= 1;
      if (left === 0) resolve();
      return done;
    };
    return promise;
  }

  test("is renewed while it is held, and not while it is paused", async () => {
    const answer = await acquireLease(store, wish());
    if (!("held" in answer)) throw new Error("somebody has it");
    const lease = new DiskLease(context, answer.held, 5);
    await puts(3);
    await lease.pause();
    const before = [...store.objects.keys()];
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect([...store.objects.keys()]).toEqual(before);
    const more = puts(2);
    lease.resume();
    // Paused again and again, it is renewed all the same when it is due.
    await lease.pause();
    lease.resume();
    await more;
    await lease.release();
    expect(leaseCount()).toBe(0);
    expect(told).toEqual([]);
  });

  test("keeps a flush from ending for five seconds at most where the store does not answer", async () => {
    const answer = await acquireLease(store, wish());
    if (!("held" in answer)) throw new Error("somebody has it");
    const lease = new DiskLease(context, answer.held);
    store.delete = () => new Promise(() => undefined);
    const startedMs = performance.now();
    await lease.release();
    expect(performance.now() - startedMs).toBeLessThan(10_000);
  });

  test("is told to be lost when another one took it over, once", async () => {
    const answer = await acquireLease(store, wish());
    if (!("held" in answer)) throw new Error("somebody has it");
    nowMs += LEASE_MS + MINUTE;
    await holdElsewhere();
    const lease = new DiskLease(context, answer.held, 5);
    while (told.length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    await lease.pause();
    lease.resume();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await lease.release();
    expect(told).toEqual([expect.stringContaining("another ibackup has taken the lease")]);
    await expect(takeLease(context, store, wish())).rejects.toMatchObject({ code: "LOCKED" });
  });
});

test("whatever the clock says, a backup continues the one before it", async () => {
  await startTracking(context, [disk], ["block"]);
  try {
    const ids: (string | null)[] = [null];
    for (const jumpMs of [0, -YEAR, 10 * YEAR, -20 * YEAR, 1]) {
      nowMs += jumpMs;
      const flushed = await flush();
      expect(flushed.parentId).toBe(ids.at(-1));
      if (flushed.parentId !== null) expect(flushed.gapCheck.verdict).toBe("trusted");
      ids.push(flushed.backupId);
    }
    const listed = await repository.manifests();
    expect(listed.map(({ manifest }) => manifest.backupId)).toEqual(ids.slice(1));
    expect(listed.map(({ manifest }) => manifest.sequence)).toEqual([0, 1, 2, 3, 4]);
  } finally {
    await stopTracking(context, []);
  }
});
