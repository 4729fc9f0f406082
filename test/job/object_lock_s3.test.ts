/** What a newer backup needs stays locked, in a bucket of a real server. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { keepLocked } from "../../src/job/object_lock.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { chainObjects } from "../../src/repo/chain_objects.ts";
import { openStore } from "../../src/store/open.ts";
import { content, newRepository, takeBackup } from "../support/backups.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";
import { collect } from "../support/collect.ts";

const DAY = 24 * 60 * 60 * 1000;
const RETAIN_MS = 2 * DAY;
const BLOCKS = 8;

let ceph: Ceph;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-test-"));
  ceph = await startCeph();
});
afterAll(() => {
  ceph?.stop();
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
