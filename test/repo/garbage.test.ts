import { describe, expect, test } from "vitest";
import { LEASE_MS } from "../../src/core/lease.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { acquireLease, type HeldLease } from "../../src/repo/lease.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { openRepository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import { BLOCK_BYTES, content, continuing, exampleManifest } from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { everyInterleaving, Gate } from "../support/gated_store.ts";
import {
  BLOCKS,
  chain,
  check,
  collect,
  HOUR_MS,
  idOf,
  type TimedStore,
} from "../support/timed_store.ts";

/** A store that is another one later. */
function following(user: { store: Store }): Store {
  return new Proxy(user.store, {
    get(_, name) {
      const found: unknown = Reflect.get(user.store, name);
      return typeof found === "function" ? found.bind(user.store) : found;
    },
  });
}

async function takeLease(timed: TimedStore, store: Store = timed): Promise<HeldLease> {
  const names = { machine: "m", hostName: "h", bootId: "b", lockFile: "l", process: "" };
  const holder = { holder: "1".repeat(32), pid: 1, ...names };
  const diskTag = "a".repeat(32);
  const answer = await acquireLease(store, {
    diskTag,
    holder,
    now: () => new Date(timed.nowMs),
    hasEnded: () => false,
  });
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

  test("removes claims and probes that somebody died with, and none that may be in use", async () => {
    const { store, images, ids } = await chain(2);
    const leave = async (number: number) => {
      await store.put(`claims/manifests/${"a".repeat(32)}/0000000001/${number}`, new Uint8Array(1));
      await store.put(`probe-${number}`, new Uint8Array(1));
    };
    await leave(1);
    store.nowMs += HOUR_MS / 2;
    await leave(2);
    expect(await collect(store)).toMatchObject({ documents: 0 });
    store.nowMs += HOUR_MS / 2 + 1;
    expect(await collect(store)).toMatchObject({ documents: 2 });
    const left = [...store.keys("claims/"), ...store.keys("probe-")];
    expect(left.map((key) => key.at(-1))).toEqual(["2", "2"]);
    store.nowMs += HOUR_MS;
    expect(await collect(store)).toMatchObject({ documents: 2 });
    expect([...store.keys("claims/"), ...store.keys("probe-")]).toEqual([]);
    expect(await check(store, images)).toEqual(ids);
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

  test("makes a flush fail that stood still so long that it was taken for dead", async () => {
    const { store, images, ids } = await chain(2);
    const lease = await takeLease(store);
    await storeBlocks(store, 9);
    store.nowMs += 3 * LEASE_MS;
    expect(await lease.confirm()).toBe(true);
    store.nowMs += 3 * LEASE_MS;
    expect(await collect(store)).toMatchObject({ packs: 1, indexes: 1 });
    expect(await lease.confirm()).toBe(false);
    expect(await check(store, images)).toEqual(ids);
  });

  test("leaves no backup without its data, in every order of its calls and those of a flush that awakes", async () => {
    const { store, images } = await chain(2);
    const parent = (await (await openRepository(store)).manifests()).at(-1);
    const seen = { committed: 0, refused: 0 };
    await everyInterleaving(async (choose) => {
      const one = store.copyOf();
      const gate = new Gate(/^(leases|manifests)\//);
      const user = { store: one as Store };
      const lease = await takeLease(one, following(user));
      const { written, bytes } = await storeBlocks(one, 9);
      const fields = { ...continuing(parent), blockCount: BLOCKS, ...written };
      const manifest = exampleManifest(2, fields);
      images.set(manifest.backupId, bytes);
      one.nowMs += 3 * LEASE_MS;
      gate.open(one, async (gated) => {
        user.store = gated;
        const isThere = await lease.confirm();
        if (isThere) await (await openRepository(gated)).commit(manifest);
        seen[isThere ? "committed" : "refused"] += 1;
      });
      gate.open(one, (gated) => collect(gated).then(() => undefined));
      await gate.run(choose);
      await check(one, images);
    });
    expect(Math.min(seen.committed, seen.refused)).toBeGreaterThan(10);
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
