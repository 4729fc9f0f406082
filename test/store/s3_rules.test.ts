/** What a bucket is asked to do with objects, and who may do what with them; on a real server. */
import { createHash, randomBytes } from "node:crypto";
import { env } from "node:process";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { StoreSettings } from "../../src/core/store_settings.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { acquireLease } from "../../src/repo/lease.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";
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
import { CEPH_CREDENTIALS, type Ceph, startCeph } from "../support/ceph.ts";
import { policyOf, type Role } from "../support/policies.ts";
import { bytesOf, listed } from "./contract.ts";

const DAY = 24 * 60 * 60 * 1000;
const ONE = new Uint8Array([1]);

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph();
});
afterAll(() => ceph?.stop());
afterEach(() => {
  Object.assign(env, CEPH_CREDENTIALS);
});

async function openBucket(name: string, settings: StoreSettings, options = {}): Promise<Store> {
  await ceph.createBucket(name, options);
  return await openStore(ceph.url(name), settings);
}

describe("An object gets", () => {
  test("the storage class only when it is a pack, and tags in any case", async () => {
    await ceph.addStorageClass("COLD");
    const settings = { storageClass: "COLD", tags: { team: "a b", cost: "1/2" } };
    const store = await openBucket("class", settings);
    await store.put("packs/aa/x", ONE);
    await store.put("manifests/x", ONE);
    expect(await ceph.head("class", "packs/aa/x")).toMatchObject({ StorageClass: "COLD" });
    expect((await ceph.head("class", "manifests/x")).StorageClass ?? "STANDARD").toBe("STANDARD");
    for (const key of ["packs/aa/x", "manifests/x"]) {
      expect(await ceph.tags("class", key)).toEqual({ team: "a b", cost: "1/2" });
      expect(await bytesOf(store, key)).toEqual([1]);
    }
  });

  test.each(["governance", "compliance"] as const)(
    "a %s retention of its own, but not when it is a lease",
    async (mode) => {
      const settings = { lock: { mode, retainMs: 2 * DAY } };
      const store = await openBucket(`own-${mode}`, settings, { locked: true });
      await store.put("packs/aa/x", ONE);
      expect(await store.putIfAbsent("manifests/x", ONE)).toBe(true);
      expect(await store.putIfAbsent("leases/x", ONE)).toBe(true);
      for (const key of ["packs/aa/x", "manifests/x"]) {
        const held = await ceph.head(`own-${mode}`, key);
        expect(held.ObjectLockMode).toBe(mode.toUpperCase());
        const leftMs = (held.ObjectLockRetainUntilDate?.getTime() ?? 0) - Date.now() - 2.5 * DAY;
        expect(Math.abs(leftMs)).toBeLessThan(60_000);
        await expect(store.erase([key])).rejects.toMatchObject({ code: "LOCKED_OBJECT" });
      }
      await store.delete("leases/x");
      expect((await ceph.versions(`own-${mode}`)).sort()).toEqual(["manifests/x", "packs/aa/x"]);
    },
  );

  test("a longer retention when it is asked for, and never a shorter one", async () => {
    const settings = { lock: { mode: "governance", retainMs: DAY } } as const;
    const store = await openBucket("longer", settings, { locked: true });
    await store.put("x", ONE);
    const until = async () => (await ceph.head("longer", "x")).ObjectLockRetainUntilDate;
    const first = await until();
    const later = new Date(Math.ceil(Date.now() / 1000) * 1000 + 5 * DAY);
    const soon = { mode: "governance", least: new Date(Date.now() + 1000), until: later } as const;
    expect(await store.extendRetention("x", soon)).toEqual(first);
    expect(await until()).toEqual(first);
    const end = await store.extendRetention("x", { ...soon, least: later });
    expect([end, await until()]).toEqual([later, later]);
  });

  test("no retention where the bucket has no lock, and says so", async () => {
    const lock = { mode: "governance", retainMs: DAY } as const;
    const store = await openBucket("nolock", { lock });
    await expect(store.put("x", ONE)).rejects.toThrow(/Cannot write/);
    const plain = await openStore(ceph.url("nolock"));
    await plain.put("x", ONE);
    const until = new Date(Date.now() + DAY);
    const extension = { mode: "governance", least: until, until } as const;
    await expect(plain.extendRetention("x", extension)).rejects.toMatchObject({
      code: "UNSUPPORTED",
    });
    expect(await store.probe()).toMatchObject({ versioning: false, objectLock: false });
    const locking = await openBucket("haslock", { lock }, { locked: true });
    expect(await locking.probe()).toMatchObject({
      fence: "versions",
      versioning: true,
      objectLock: true,
      problems: [],
    });
  });
});

test("A checksum of when the bytes were made refuses bytes that have changed since", async () => {
  const store = await openBucket("sums", {});
  const body = randomBytes(1000);
  const sha256 = createHash("sha256").update(body).digest("hex");
  await store.put("right", body, { sha256 });
  body[500] = (body[500] ?? 0) ^ 1;
  const failing = openStore(ceph.url("sums", { attempts: "2" }));
  await expect((await failing).put("wrong", body, { sha256 })).rejects.toThrow(/Cannot write/);
  expect((await listed(store, "")).map(({ key }) => key)).toEqual(["right"]);
});

test("A limit of bandwidth holds for all uploads together, and the bytes arrive", async () => {
  const store = await openBucket("slow", { uploadBytesPerSecond: 4 << 20, parallelUploads: 2 });
  const bodies = Array.from({ length: 4 }, () => randomBytes(1 << 20));
  const beganMs = performance.now();
  await Promise.all(bodies.map((body, number) => store.put(`x/${number}`, body)));
  const seconds = (performance.now() - beganMs) / 1000;
  expect(seconds).toBeGreaterThan(0.9);
  expect(seconds).toBeLessThan(3);
  for (const [number, body] of bodies.entries()) {
    expect(body.equals((await store.get(`x/${number}`, { maxBytes: 1 << 20 }))!)).toBe(true);
  }
});

describe("With the policy of docs/STORES.md", () => {
  /** A key that may do what the policy of its role says, with objects below a prefix. */
  async function openAs(role: Role, bucket: string): Promise<Store> {
    const key = ceph.addUser(role, bucket);
    await ceph.setPolicy(bucket, policyOf(role, { bucket, prefix: "vm", user: key.user }));
    Object.assign(env, key.environment);
    return await openStore(ceph.url(`${bucket}/vm`, { attempts: "2" }));
  }
  const denied = { code: "STORE_DENIED" };

  test.each([false, true])(
    "a writer flushes, and removes nothing (versions: %s)",
    async (versioned) => {
      const bucket = `writer-${versioned}`;
      await ceph.createBucket(bucket, { versioned });
      const base = await takeBackup(
        await newRepository(await openStore(ceph.url(`${bucket}/vm`))),
        { blockCount: 8 },
        [{ firstBlock: 0, blockCount: 8, bytes: content(8, 1) }],
      );
      const store = await openAs("writer", bucket);
      const repository = await openRepository(store);
      for (let number = 1; number <= 2; number++) {
        const holder = { holder: String(number).padStart(32, "0"), machine: "m", hostName: "h" };
        const place = { bootId: "b", lockFile: `1:${number}`, pid: 1, process: "" };
        const lease = await acquireLease(store, {
          diskTag: "d".repeat(32),
          holder: { ...holder, ...place },
          now: () => new Date(),
          hasEnded: () => false,
        });
        if (!("held" in lease)) throw new Error("the lease was not given back");
        const parent = (await repository.manifests()).at(-1);
        const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: 8 });
        await writer.add({ firstBlock: number, blockCount: 1 }, content(1, number + 1));
        const fields = { ...continuing(parent), ...(await writer.finish()), blockCount: 8 };
        await repository.commit(exampleManifest(number, fields));
        await lease.held.release();
      }
      const backups = await repository.manifests();
      expect(backups).toHaveLength(3);
      const disk = await restore(repository, backups);
      expect(disk.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES)).toEqual(content(1, 2));
      await expect(store.erase([base.key])).rejects.toMatchObject(denied);
      await expect(store.delete(base.key)).rejects.toMatchObject(denied);
      await expect(
        (await openStore(ceph.url(`${bucket}/other`))).put("x", ONE),
      ).rejects.toMatchObject(denied);
      expect(await repository.manifests()).toHaveLength(3);
    },
  );

  test("a pruner removes, with all versions", async () => {
    await ceph.createBucket("pruner", { versioned: true });
    const owner = await openStore(ceph.url("pruner/vm"));
    for (const key of ["a", "a", "b"]) await owner.put(key, ONE);
    const store = await openAs("pruner", "pruner");
    await store.erase(["a"]);
    await store.put("c", ONE);
    expect((await listed(store, "")).map(({ key }) => key)).toEqual(["b", "c"]);
    expect((await ceph.versions("pruner")).sort()).toEqual(["vm/b", "vm/c"]);
  });

  test("a reader reads, and neither writes nor removes", async () => {
    await ceph.createBucket("reader", { versioned: true });
    const owner = await openStore(ceph.url("reader/vm"));
    await owner.put("a", ONE);
    const store = await openAs("reader", "reader");
    expect(await bytesOf(store, "a")).toEqual([1]);
    expect(await listed(store, "")).toEqual([{ key: "a", sizeBytes: 1 }]);
    await expect(store.put("b", ONE)).rejects.toMatchObject(denied);
    await expect(store.putIfAbsent("b", ONE)).rejects.toMatchObject(denied);
    await expect(store.delete("a")).rejects.toMatchObject(denied);
    await expect(store.erase(["a"])).rejects.toMatchObject(denied);
    expect(await listed(owner, "")).toEqual([{ key: "a", sizeBytes: 1 }]);
  });
});
