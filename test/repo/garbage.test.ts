import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import { LEASE_MS } from "../../src/core/lease.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { collectGarbage, type GcOptions } from "../../src/repo/garbage.ts";
import { acquireLease, type HeldLease } from "../../src/repo/lease.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { rewriteBackup } from "../../src/repo/rewrite.ts";
import type { Store } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  content,
  continuing,
  exampleManifest,
  newRepository,
  restore,
  takeBackup,
} from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 30;
const HOUR_MS = 3_600_000;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

/** A store whose clock the test turns. */
class TimedStore extends MemoryStore {
  nowMs = 1_000_000_000;
  override now = () => this.nowMs;

  keys(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }

  copyOf(): TimedStore {
    const copy = new TimedStore();
    for (const [key, body] of this.objects) copy.objects.set(key, body);
    for (const [key, time] of this.storedAtMs) copy.storedAtMs.set(key, time);
    copy.nowMs = this.nowMs;
    return copy;
  }
}

async function chain(count: number) {
  const store = new TimedStore();
  const repository = await newRepository(store);
  const disk = content(BLOCKS, 1);
  const images = new Map<string, Uint8Array>();
  let parent = await takeBackup(repository, { blockCount: BLOCKS }, [
    { firstBlock: 0, blockCount: BLOCKS, bytes: disk },
  ]);
  images.set(idOf(parent), disk.slice());
  for (let number = 1; number < count; number++) {
    const bytes = content(2, 50 + number);
    // Every other one overwrites the one before.
    const firstBlock = 3 * Math.floor(number / 2);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    store.nowMs += HOUR_MS;
    parent = await takeBackup(repository, { blockCount: BLOCKS, parent }, [
      { firstBlock, blockCount: 2, bytes },
    ]);
    images.set(idOf(parent), disk.slice());
  }
  return { store, repository, images, ids: [...images.keys()] };
}

async function collect(store: Store, options: Partial<GcOptions> = {}) {
  const given = { graceMs: 0, dryRun: false, own: "0".repeat(32), ...options };
  return await collectGarbage(await openRepository(store), given);
}

async function check(store: Store, images: ReadonlyMap<string, Uint8Array>): Promise<string[]> {
  const repository = await openRepository(store);
  const all = await repository.manifests();
  for (const one of all) {
    const found = await restore(repository, chainOf(all, idOf(one)));
    expect(Buffer.compare(found, images.get(idOf(one))!), idOf(one)).toBe(0);
  }
  return all.map(idOf);
}

async function takeLease(store: TimedStore): Promise<HeldLease> {
  const names = { machine: "m", hostName: "h", bootId: "b", lockFile: "l" };
  const holder = { holder: "1".repeat(32), pid: 1, ...names };
  const diskTag = "a".repeat(32);
  const answer = await acquireLease(store, { diskTag, holder, now: () => new Date(store.nowMs) });
  if ("heldBy" in answer) throw new Error("the lease is held");
  return answer.held;
}

/** Stores the blocks of a backup without its manifest. */
async function storeBlocks(store: Store, seed: number) {
  const repository = await openRepository(store);
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
  const bytes = content(BLOCKS, seed);
  await writer.add({ firstBlock: 0, blockCount: BLOCKS }, bytes);
  return { repository, written: await writer.finish(), bytes };
}

describe("gc", () => {
  test("removes nothing that a backup needs, and nothing at all when all are needed", async () => {
    const { store, images, ids } = await chain(5);
    store.nowMs += HOUR_MS;
    const before = [...store.objects.keys()];
    expect(await collect(store)).toMatchObject({ packs: 0, indexes: 0, documents: 0, bytes: 0 });
    expect([...store.objects.keys()]).toEqual(before);
    expect(await check(store, images)).toEqual(ids);
  });

  test("removes what removed backups alone had, and leaves no marker", async () => {
    const { store, images, ids } = await chain(5);
    const repository = await openRepository(store);
    await removeBackups(repository, new Set([ids[3]!, ids[4]!]));
    store.nowMs += HOUR_MS;
    expect(await collect(store)).toMatchObject({ packs: 2, indexes: 2 });
    expect(store.keys("packs/")).toHaveLength(3);
    expect(store.keys("indexes/")).toHaveLength(3);
    expect(store.keys("markers/")).toEqual([]);
    expect(await check(store, images)).toEqual(ids.slice(0, 3));
  });

  test("keeps the packs of removed backups that others took over", async () => {
    const { store, images, ids } = await chain(6);
    const repository = await openRepository(store);
    await removeBackups(repository, new Set(ids.slice(0, 4)));
    await rebaseBackup(repository, ids[5]!);
    store.nowMs += HOUR_MS;
    await collect(store);
    store.nowMs += HOUR_MS;
    await collect(store);
    expect(await check(store, images)).toEqual(ids.slice(4));
    // Of each the newest map, and of the removed ones none.
    expect(store.keys("maps/")).toHaveLength(2);
  });

  test("keeps what is younger than the grace time, by the clock of the store alone", async () => {
    const { store, ids } = await chain(4);
    await removeBackups(await openRepository(store), new Set(ids.slice(2)));
    const young = await collect(store, { graceMs: 2 * HOUR_MS });
    expect(young).toMatchObject({ packs: 0, indexes: 0, youngObjects: 5 });
    store.nowMs += 1.5 * HOUR_MS;
    expect(await collect(store, { graceMs: 2 * HOUR_MS })).toMatchObject({ packs: 1, indexes: 1 });
    store.nowMs += 1.5 * HOUR_MS;
    expect(await collect(store, { graceMs: 2 * HOUR_MS })).toMatchObject({ packs: 1, indexes: 1 });
  });

  test("says what it would do, and does not, in a dry run", async () => {
    const { store, ids } = await chain(4);
    await removeBackups(await openRepository(store), new Set(ids.slice(2)));
    store.nowMs += HOUR_MS;
    const before = [...store.objects.keys()];
    expect(await collect(store, { dryRun: true })).toMatchObject({ packs: 2, indexes: 2 });
    expect([...store.objects.keys()]).toEqual(before);
  });

  test("keeps, also without grace, what a flush under way has stored", async () => {
    const { store, images, ids } = await chain(2);
    const lease = await takeLease(store);
    const { repository, written, bytes } = await storeBlocks(store, 9);
    // A long flush: its lease is renewed again and again.
    for (let minute = 0; minute < 90; minute++) {
      store.nowMs += 60_000;
      await lease.renew();
      if (minute % 20 === 0) expect(await collect(store)).toMatchObject({ packs: 0, indexes: 0 });
    }
    const parent = (await repository.manifests()).at(-1);
    const manifest = exampleManifest(2, { ...continuing(parent), blockCount: BLOCKS, ...written });
    const stored = await repository.commit(manifest);
    images.set(idOf(stored), bytes);
    await lease.release();
    expect(store.keys("leases/")).toEqual([]);
    expect(await check(store, images)).toEqual([...ids, idOf(stored)]);
  });

  test("removes what a dead flush has stored, and its leases, when its lease has ended", async () => {
    const { store, images, ids } = await chain(2);
    const lease = await takeLease(store);
    await storeBlocks(store, 9);
    store.nowMs += 60_000;
    await lease.renew();
    expect(await collect(store)).toMatchObject({ packs: 0, indexes: 0, documents: 0 });
    store.nowMs += 3 * LEASE_MS;
    expect(await collect(store)).toMatchObject({ packs: 1, indexes: 1, documents: 2 });
    expect(await check(store, images)).toEqual(ids);
  });

  test("needs no more memory than it is given: names are marked some at a time", async () => {
    const { store, images, ids } = await chain(9);
    await removeBackups(await openRepository(store), new Set(ids.slice(6)));
    store.nowMs += HOUR_MS;
    expect(await collect(store, { namesMax: 2 })).toMatchObject({ packs: 3, indexes: 3 });
    expect(await check(store, images)).toEqual(ids.slice(0, 6));
  });

  test("keeps the place of the newest backup that was removed", async () => {
    const { store, ids } = await chain(3);
    await removeBackups(await openRepository(store), new Set([ids[1]!, ids[2]!]));
    store.nowMs += HOUR_MS;
    await collect(store);
    expect(store.keys("maps/").map((key) => key.split("/")[2])).toEqual(["0000000002"]);
  });

  test("removes nothing while it cannot tell what is needed", async () => {
    for (const prefix of ["manifests/", "maps/", "indexes/"]) {
      const { store, ids } = await chain(5);
      await removeBackups(await openRepository(store), new Set([ids[1]!, ids[4]!]));
      store.nowMs += HOUR_MS;
      const map = store.keys("maps/").find((key) => key.includes("/0000000002/"));
      const key = prefix === "maps/" ? map! : store.keys(prefix)[0]!;
      store.objects.set(key, store.objects.get(key)!.slice(0, -1));
      const packs = store.keys("packs/");
      await expect(collect(store)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
      expect(store.keys("packs/")).toEqual(packs);
      expect(store.keys("markers/")).toEqual([]);
    }
  });

  test("killed at any call leaves all that is needed, and the next one ends it", async () => {
    const { store, images, ids } = await chain(5);
    await removeBackups(await openRepository(store), new Set([ids[0]!, ids[4]!]));
    store.nowMs += HOUR_MS;
    for (const fault of ["fail", "fail after"] as const) {
      for (let nth = 1; ; nth++) {
        const one = store.copyOf();
        const faulty = new FaultStore(one, { nth, fault, onwards: true });
        const ended = await collect(faulty).then(
          () => true,
          () => false,
        );
        expect(await check(one, images)).toEqual(ids.slice(1, 4));
        one.nowMs += HOUR_MS;
        await collect(one);
        expect(await check(one, images)).toEqual(ids.slice(1, 4));
        expect(one.keys("packs/")).toHaveLength(4);
        if (ended && !faulty.fired) break;
      }
    }
  });
});

describe("rewriting", () => {
  /** A base of many frames, of which incrementals overwrite most; then only the newest is left. */
  async function mostlyDead() {
    const store = new TimedStore();
    const repository = await newRepository(store);
    const blockCount = 640;
    const disk = content(blockCount, 1);
    const backups = [
      await takeBackup(repository, { blockCount }, [
        { firstBlock: 0, blockCount, bytes: disk.slice() },
      ]),
    ];
    const overwrite = async (firstBlock: number, count: number, seed: number) => {
      const bytes = content(count, seed);
      disk.set(bytes, firstBlock * BLOCK_BYTES);
      const parent = backups.at(-1);
      const change = { firstBlock, blockCount: count, bytes };
      backups.push(await takeBackup(repository, { blockCount, parent }, [change]));
    };
    await overwrite(0, 576, 2);
    await overwrite(10, 556, 3);
    await removeBackups(repository, new Set(backups.slice(0, 2).map(idOf)));
    const images = new Map([[idOf(backups[2]!), disk]]);
    return { store, repository, images };
  }

  const bytesOf = (store: TimedStore) =>
    store.keys("packs/").reduce((sum, key) => sum + store.objects.get(key)!.length, 0);

  test("stores anew what little is left of packs, and gc removes them then", async () => {
    const { store, repository, images } = await mostlyDead();
    const before = bytesOf(store);
    const [stored] = await repository.manifests();
    const result = await rewriteBackup(repository, stored!);
    // Of the base 1 of 10 frames is alive, of the first incremental 2 of 9.
    expect(result?.packs).toBe(2);
    expect(await check(store, images)).toHaveLength(1);
    store.nowMs += HOUR_MS;
    await collect(store);
    expect(await check(store, images)).toHaveLength(1);
    store.nowMs += HOUR_MS;
    await collect(store);
    expect(await check(store, images)).toHaveLength(1);
    expect(bytesOf(store)).toBeLessThan(before * 0.6);
    const [again] = await repository.manifests();
    expect(await rewriteBackup(repository, again!)).toBeUndefined();
  });

  test("leaves a backup as it is when another one has changed it meanwhile", async () => {
    const { store, repository, images } = await mostlyDead();
    const [stored] = await repository.manifests();
    store.nowMs += HOUR_MS;
    await rebaseBackup(repository, idOf(stored!));
    await rewriteBackup(repository, stored!);
    await rewriteBackup(repository, { ...stored!, map: { ...stored!.map!, version: 0 } });
    const [now] = await repository.manifests();
    expect(now?.map?.version).toBe(stored!.map!.version + 1);
    expect(await check(store, images)).toHaveLength(1);
  });

  test("makes few index objects of many", async () => {
    const store = new TimedStore();
    const repository = await newRepository(store);
    let parent = await takeBackup(repository, { blockCount: BLOCKS }, [
      { firstBlock: 0, blockCount: BLOCKS },
    ]);
    const disk = new Uint8Array(BLOCKS * BLOCK_BYTES);
    const ids: string[] = [idOf(parent)];
    for (let number = 0; number < 80; number++) {
      const bytes = content(1, number + 1);
      const firstBlock = number % BLOCKS;
      disk.set(bytes, firstBlock * BLOCK_BYTES);
      parent = await takeBackup(repository, { blockCount: BLOCKS, parent }, [
        { firstBlock, blockCount: 1, bytes },
      ]);
      ids.push(idOf(parent));
    }
    await removeBackups(repository, new Set(ids.slice(0, -1)));
    const [stored] = await repository.manifests();
    expect(stored?.manifest.indexes).toHaveLength(81);
    await rewriteBackup(repository, stored!);
    const [now] = await repository.manifests();
    expect(now?.manifest.indexes.length).toBeLessThan(3);
    expect(await check(store, new Map([[ids.at(-1)!, disk]]))).toHaveLength(1);
  });
});
