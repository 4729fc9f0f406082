/** What a backup needs stays locked as long as it, at a bounded number of requests. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { FreezeGate } from "../../src/job/freeze_gate.ts";
import { keepLocked } from "../../src/job/object_lock.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { chainObjects } from "../../src/repo/chain_objects.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { chainTo, content, newRepository, takeBackup } from "../support/backups.ts";
import { collect } from "../support/collect.ts";
import { FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const DAY = 24 * 60 * 60 * 1000;
const RETAIN_MS = 10 * DAY;
const BLOCKS = 16;
/** But for the one read by which a repository is opened. */
const CALLS = ["list", "head", "getRange", "extendRetention"] as const;

let folder: string;
let store: MemoryStore;
let repository: Repository;
let nowMs: number;
let messages: string[];
let parent: StoredManifest | undefined;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-test-"));
  nowMs = Date.UTC(2026, 0, 1);
  store = new MemoryStore();
  store.now = () => nowMs;
  store.lock = { mode: "governance", retainMs: RETAIN_MS };
  repository = await newRepository(store);
  messages = [];
  parent = undefined;
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function keep(newest: StoredManifest, through = repository): Promise<void> {
  const context = {
    stateDir: () => folder,
    freezeGate: new FreezeGate(),
    clock: { now: () => new Date(nowMs), monotonicMs: () => nowMs },
    random: (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes)),
    progress: { ...SILENT_PROGRESS, message: (line: string) => void messages.push(line) },
    signal: new AbortController().signal,
  };
  await keepLocked(context, through, newest);
}

/** One block changes, or with `isBase` all do. */
async function backUp({ isBase = false } = {}): Promise<StoredManifest> {
  nowMs += DAY;
  const sequence = (parent?.manifest.sequence ?? -1) + 1;
  const blockCount = isBase || parent === undefined ? BLOCKS : 1;
  const disk = { blockCount: BLOCKS, sequence, parent: isBase ? undefined : parent };
  const changes = [{ firstBlock: 0, blockCount, bytes: content(blockCount, sequence) }];
  parent = await takeBackup(repository, disk, changes);
  return parent;
}

/** Those of its chain whose retention ends too early. */
async function tooShort(newest: StoredManifest): Promise<string[]> {
  const keys = await collect(chainObjects(repository, await chainTo(repository, newest)));
  expect(keys.length).toBeGreaterThan(3);
  return keys.filter((key) => (store.lockedUntil.get(key)?.getTime() ?? 0) < nowMs + RETAIN_MS);
}

describe("the chain of a backup", () => {
  test("is locked as long as the backup, each day of forty, with few requests", async () => {
    const perDay: number[] = [];
    for (let day = 0; day < 40; day++) {
      const newest = await backUp();
      const before = store.lockCalls.length;
      await keep(newest);
      perDay.push(store.lockCalls.length - before);
      expect(await tooShort(newest), `day ${day}`).toEqual([]);
      // Nor for much longer than was asked.
      const latest = Math.max(...[...store.lockedUntil.values()].map((until) => until.getTime()));
      expect(latest).toBeLessThanOrEqual(nowMs + 1.25 * RETAIN_MS);
    }
    expect(messages).toEqual([]);
    // On most days nothing is asked.
    expect(perDay.filter((calls) => calls > 0).length).toBeLessThanOrEqual(1 + 40 / 2);
    expect(perDay.at(0)).toBeGreaterThan(0);
  });

  test("goes on where it begins anew, and what the old one needed is let go", async () => {
    const first = await backUp();
    await keep(first);
    const old = await collect(chainObjects(repository, [first]));
    const until = new Map(old.map((key) => [key, store.lockedUntil.get(key)]));
    for (let day = 0; day < 12; day++) {
      const newest = await backUp({ isBase: day === 0 });
      await keep(newest);
      expect(await tooShort(newest), `day ${day}`).toEqual([]);
    }
    const ofFirst = old.filter((key) => /^(manifests|indexes|packs)\//.test(key));
    expect(ofFirst).toHaveLength(3);
    for (const key of ofFirst) expect(store.lockedUntil.get(key)).toEqual(until.get(key));
  });

  test("is asked for as a whole by a machine that remembers nothing", async () => {
    for (let day = 0; day < 8; day++) await keep(await backUp());
    rmSync(folder, { recursive: true });
    const before = store.lockCalls.length;
    const newest = await backUp();
    await keep(newest);
    expect(await tooShort(newest)).toEqual([]);
    const objects = await collect(chainObjects(repository, await chainTo(repository, newest)));
    expect(store.lockCalls.slice(before).sort()).toEqual(objects.sort());
  });

  test("is locked with the backups of a machine that has locked nothing", async () => {
    const { lock } = store;
    await keep(await backUp());
    store.lock = undefined;
    const between = await backUp();
    store.lock = lock;
    nowMs += 3 * DAY;
    const newest = await backUp();
    await keep(newest);
    expect(store.lockedUntil.has(between.key)).toBe(true);
    expect(await tooShort(newest)).toEqual([]);
  });
});

test("Whatever call fails, the backup is there, and the next one makes up for it", async () => {
  for (let day = 0; day < 3; day++) await backUp();
  const [before, ancestor] = [store, parent];
  nowMs += 5 * DAY;
  for (let nth = 1; ; nth++) {
    store = before.copy();
    repository = await openRepository(store);
    parent = ancestor;
    rmSync(folder, { recursive: true, force: true });
    const newest = await backUp();
    messages = [];
    const failing = new FaultStore(store, { nth, fault: "fail", calls: CALLS });
    await keep(newest, await openRepository(failing));
    if (!failing.fired) break;
    expect(messages, `call ${nth}`).toHaveLength(1);
    const next = await backUp();
    await keep(next);
    expect(await tooShort(next), `call ${nth}`).toEqual([]);
    expect(messages, `call ${nth}`).toHaveLength(1);
  }
  expect(messages).toEqual([]);
});

test("Nothing is asked where the store locks nothing", async () => {
  store.lock = undefined;
  await keep(await backUp());
  expect(store.lockCalls).toEqual([]);
});
