/** What a newer backup needs stays locked, in a bucket of a real server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { copy } from "../../src/job/copy.ts";
import { FreezeGate } from "../../src/job/freeze_gate.ts";
import { keepLocked } from "../../src/job/object_lock.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { chainObjects } from "../../src/repo/chain_objects.ts";
import { openStore } from "../../src/store/open.ts";
import { content, newRepository, takeBackup } from "../support/backups.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";
import { collect } from "../support/collect.ts";
import { testContext } from "../support/context.ts";
import { Machine } from "../support/machine.ts";

const DAY = 24 * 60 * 60 * 1000;
const RETAIN_MS = 2 * DAY;
const BLOCKS = 8;

let ceph: Ceph;
let folder: string;
let machine: Machine;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-test-"));
  machine = new Machine();
  ceph = await startCeph();
});
afterAll(() => {
  ceph?.stop();
  machine?.close();
  rmSync(folder, { recursive: true, force: true });
});

test.each(["governance", "compliance"] as const)(
  "a %s retention of the whole chain, and of nothing else, becomes longer",
  { timeout: 30_000 },
  async (mode) => {
    await ceph.createBucket(mode, { locked: true });
    const store = await openStore(ceph.url(mode), { lock: { mode, retainMs: RETAIN_MS } });
    const repository = await newRepository(store);
    const whole = { firstBlock: 0, blockCount: BLOCKS, bytes: content(BLOCKS, 1) };
    const other = await takeBackup(repository, { blockCount: BLOCKS }, [whole]);
    const base = await takeBackup(repository, { blockCount: BLOCKS, sequence: 1 }, [whole]);
    const change = { firstBlock: 3, blockCount: 1, bytes: content(1, 2) };
    const newest = await takeBackup(repository, { blockCount: BLOCKS, parent: base }, [change]);
    const untilOf = async (key: string): Promise<number> =>
      (await ceph.head(mode, key)).ObjectLockRetainUntilDate?.getTime() ?? 0;
    const before = await untilOf(other.key);

    const messages: string[] = [];
    const nowMs = Date.now() + 1.6 * DAY;
    const context = {
      stateDir: () => folder,
      freezeGate: new FreezeGate(),
      clock: { now: () => new Date(nowMs), monotonicMs: () => nowMs },
      random: (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes)),
      progress: { ...SILENT_PROGRESS, message: (line: string) => void messages.push(line) },
      signal: new AbortController().signal,
    };
    await keepLocked(context, repository, newest);

    expect(messages).toEqual([]);
    const needed = await collect(chainObjects(repository, [base, newest]));
    expect(needed.length).toBeGreaterThanOrEqual(7);
    // The server keeps whole seconds.
    for (const key of needed) expect(await untilOf(key)).toBeGreaterThan(nowMs + RETAIN_MS - 1000);
    await expect(store.erase(needed)).rejects.toMatchObject({ code: "LOCKED_OBJECT" });
    expect(await untilOf(other.key)).toBe(before);
    expect(before).toBeLessThan(nowMs + RETAIN_MS);
  },
);

test("a copy obeys the rules of the store that it goes to, and locks what its chain needs there", async () => {
  await ceph.createBucket("copies", { locked: true });
  await ceph.addStorageClass("COLD");
  const repository = await newRepository();
  const context = testContext(machine, { repository, pins: "ibackup_test_copy_rules" });
  const rules = {
    storageClass: "COLD",
    tags: { team: "ops" },
    lock: { mode: "governance", retainMs: RETAIN_MS },
    uploadBytesPerSecond: 1 << 20,
  } as const;
  const to = ceph.url("copies");
  const copyAll = async (nowMs: number) => {
    const clock = { ...context.clock, now: () => new Date(nowMs) };
    return await copy({ ...context, clock }, { to, rules, backups: [], scope: {} });
  };

  const bytes = crypto.getRandomValues(new Uint8Array(256 * 4096));
  const disk = { blockCount: 256 };
  const base = await takeBackup(repository, disk, [{ firstBlock: 0, blockCount: 256, bytes }]);
  const beganMs = performance.now();
  await copyAll(Date.now());
  expect(performance.now() - beganMs).toBeGreaterThan(900);
  const there = (await ceph.versions("copies")).filter((key) => !key.startsWith("leases/"));
  expect(there.filter((key) => key.startsWith("packs/"))).toHaveLength(1);
  for (const key of there.filter((one) => one !== "condition")) {
    const { ObjectLockRetainUntilDate: until, StorageClass: kept } = await ceph.head("copies", key);
    expect(until?.getTime(), key).toBeGreaterThan(Date.now() + RETAIN_MS);
    expect(String(kept) === "COLD", key).toBe(key.startsWith("packs/"));
    expect(await ceph.tags("copies", key)).toEqual({ team: "ops" });
  }

  const change = { firstBlock: 3, blockCount: 1, bytes: content(1, 2) };
  await takeBackup(repository, { ...disk, parent: base }, [change]);
  const nowMs = Date.now() + 1.6 * DAY;
  expect((await copyAll(nowMs)).copied.map(({ isNew }) => isNew)).toEqual([false, true]);
  for (const key of there) {
    const until = (await ceph.head("copies", key)).ObjectLockRetainUntilDate?.getTime();
    expect(until, key).toBeGreaterThan(nowMs + RETAIN_MS - 1000);
  }
});
