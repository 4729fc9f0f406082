import { randomBytes } from "node:crypto";
import { env } from "node:process";
import { inspect } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import { CEPH_CREDENTIALS, type Ceph, startCeph } from "../support/ceph.ts";
import { bytesOf, listed } from "./contract.ts";

const MIB = 1024 * 1024;

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph();
  await ceph.createBucket("bucket");
});
afterAll(() => ceph?.stop());

describe("The S3 store is refused", () => {
  test("with a wrong secret, which it does not repeat", async () => {
    env["AWS_SECRET_ACCESS_KEY"] = "notTheSecretOfAnyone";
    try {
      const store = await openStore(ceph.url("bucket"));
      for (const call of [() => store.head("a"), () => store.put("a", new Uint8Array(1))]) {
        const error: unknown = await call().catch((reason: unknown) => reason);
        expect(error).toMatchObject({
          code: "STORE_DENIED",
          why: expect.stringContaining("SignatureDoesNotMatch"),
          fix: expect.stringContaining("AWS_SECRET_ACCESS_KEY"),
        });
        const everything = inspect(error, { depth: 20, showHidden: true });
        expect(everything).not.toContain("notTheSecretOfAnyone");
      }
      const probe = await store.probe();
      expect(probe).toMatchObject({ readable: false, writable: false });
    } finally {
      Object.assign(env, CEPH_CREDENTIALS);
    }
  });

  test("by a bucket that does not exist", async () => {
    const store = await openStore(ceph.url("nobucket"));
    for (const call of [
      () => store.get("a", { maxBytes: 1 }),
      () => store.head("a"),
      () => store.put("a", new Uint8Array(1)),
      () => store.putIfAbsent("a", new Uint8Array(1)),
      () => listed(store, ""),
    ]) {
      await expect(call()).rejects.toMatchObject({
        code: "STORE_DENIED",
        why: expect.stringContaining("NoSuchBucket"),
      });
    }
  });

  test("when the user is suspended, and works again when the suspension ends", async () => {
    const store = await openStore(ceph.url("bucket"));
    ceph.admin("user", "suspend", "--uid=test");
    await expect(store.put("suspended", new Uint8Array(1))).rejects.toMatchObject({
      code: "STORE_DENIED",
      why: expect.stringContaining("UserSuspended"),
    });
    ceph.admin("user", "enable", "--uid=test");
    await store.put("suspended", new Uint8Array(1));
  });

  test("when the quota is used up, and works again when it is raised", async () => {
    await ceph.createBucket("quota");
    const store = await openStore(ceph.url("quota"));
    const limit = ["quota", "set", "--uid=test", "--quota-scope=bucket"];
    ceph.admin(...limit, "--max-size=1000000");
    ceph.admin("quota", "enable", "--uid=test", "--quota-scope=bucket");
    await expect(store.put("large", randomBytes(2 * MIB))).rejects.toMatchObject({
      code: "STORE_FULL",
    });
    ceph.admin("quota", "disable", "--uid=test", "--quota-scope=bucket");
    await store.put("large", randomBytes(2 * MIB));
  });

  test("by an endpoint where nobody listens", async () => {
    const endpoint = "http://127.0.0.1:1";
    const store = await openStore(ceph.url("bucket", { endpoint, attempts: "2" }));
    await expect(store.get("a", { maxBytes: 1 })).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
      why: expect.stringContaining("ECONNREFUSED"),
    });
  });
});

describe("The S3 store carries on", () => {
  test("when the gateway is killed during puts and started again", async () => {
    const store = await openStore(ceph.url("bucket"));
    const bodies = Array.from({ length: 24 }, () => randomBytes(4 * MIB));
    const puts = bodies.map((body, index) => store.put(`killed/${index}`, body));
    await Promise.race(puts);
    await ceph.killGateway();
    await ceph.startGateway();
    await Promise.all(puts);
    for (const [index, body] of bodies.entries()) {
      const read = await store.get(`killed/${index}`, { maxBytes: 4 * MIB });
      expect(read && body.equals(read)).toBe(true);
    }
  });

  test("when the gateway turns most requests away with 503 SlowDown", async () => {
    await ceph.killGateway();
    await ceph.startGateway("--rgw_max_concurrent_requests=2");
    const store = await openStore(ceph.url("bucket"));
    const writers = Array.from({ length: 32 }, (_, writer) =>
      store.put(`busy/${writer}`, new Uint8Array(MIB).fill(writer)),
    );
    await Promise.all(writers);
    expect(await listed(store, "busy/")).toHaveLength(32);
    await ceph.killGateway();
    await ceph.startGateway();
  });
});

describe("In a bucket that keeps versions, where Ceph ignores conditions, the S3 store", () => {
  beforeAll(async () => {
    await ceph.createBucket("versioned", { versioned: true });
  });

  test("says that they are ignored, and leaves no version of its probe", async () => {
    const store = await openStore(ceph.url("versioned"));
    expect(await store.probe()).toEqual({
      readable: true,
      writable: true,
      conditionalPut: "ignored",
      fence: "versions",
      versioning: true,
      objectLock: false,
      problems: [],
    });
    expect(await ceph.versions("versioned")).toEqual([]);
  });

  test("still does not overwrite what it can see", async () => {
    const store = await openStore(ceph.url("versioned"));
    expect(await store.putIfAbsent("once", new Uint8Array([1]))).toBe(true);
    expect(await store.putIfAbsent("once", new Uint8Array([2]))).toBe(false);
    expect(await bytesOf(store, "once")).toEqual([1]);
  });
});
