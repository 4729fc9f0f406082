/** Removing for good: versions, locks, and servers that know less than others. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openStore } from "../../src/store/open.ts";
import type { RetryClock } from "../../src/store/retry_clock.ts";
import { openS3Store } from "../../src/store/s3.ts";
import type { LockedObject } from "../../src/store/store.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";
import { type Answer, type FakeS3, failure, startFakeS3, success } from "../support/fake_s3.ts";
import { listed } from "./contract.ts";

const ONE = new Uint8Array([1]);

describe("On Ceph", () => {
  let ceph: Ceph;
  beforeAll(async () => {
    ceph = await startCeph();
  });
  afterAll(() => ceph?.stop());

  test("a delete in a bucket that keeps versions hides, an erase leaves nothing", async () => {
    await ceph.createBucket("versioned", { versioned: true });
    const store = await openStore(ceph.url("versioned/prefix"));
    for (const key of ["a", "a", "ab", "b"]) await store.put(key, ONE);
    await store.delete("a");
    expect(await listed(store, "a")).toEqual([{ key: "ab", sizeBytes: 1 }]);
    expect((await ceph.versions("versioned")).filter((key) => key === "prefix/a")).toHaveLength(3);
    await store.erase(["a", "b", "nothing"]);
    expect(await ceph.versions("versioned")).toEqual(["prefix/ab"]);
  });

  test("an erase takes what was written before and after versions began to be kept", async () => {
    await ceph.createBucket("late");
    const before = await openStore(ceph.url("late"));
    await before.put("a", ONE);
    await before.erase(["nothing"]);
    await ceph.keepVersions("late");
    const store = await openStore(ceph.url("late"));
    await store.put("a", ONE);
    expect(await ceph.versions("late")).toHaveLength(2);
    await store.erase(["a"]);
    expect(await ceph.versions("late")).toEqual([]);
  });

  test("more versions of one key than a page holds go as well", async () => {
    await ceph.createBucket("many", { versioned: true });
    const store = await openStore(ceph.url("many"));
    for (let round = 0; round < 21; round++) {
      await Promise.all(Array.from({ length: 50 }, () => store.put("a", ONE)));
    }
    await store.put("a0", ONE);
    await store.erase(["a"]);
    expect(await ceph.versions("many")).toEqual(["a0"]);
  });

  test.each(["GOVERNANCE", "COMPLIANCE"] as const)(
    "%s retention refuses, says until when, and lets the others go",
    async (mode) => {
      const bucket = mode.toLowerCase();
      await ceph.createBucket(bucket, { locked: true });
      const store = await openStore(ceph.url(bucket));
      await store.put("free", ONE);
      await ceph.retainByDefault(bucket, mode);
      for (const key of ["held", "held/2"]) await store.put(key, ONE);
      await store.delete("held/2");

      const refusals: LockedObject[] = [];
      const keys = ["held", "free", "held/2"];
      await store.erase(keys, { onLocked: (locked) => refusals.push(locked) });
      expect(refusals.map(({ key }) => key).sort()).toEqual(["held", "held/2"]);
      const day = 24 * 60 * 60 * 1000;
      for (const { until, error } of refusals) {
        expect(Math.abs((until?.getTime() ?? 0) - Date.now() - day)).toBeLessThan(60_000);
        expect(error).toMatchObject({
          code: "LOCKED_OBJECT",
          why: `the bucket keeps it (${bucket} retention) until ${until?.toISOString()}`,
        });
      }
      // Also what was hidden before stays as it was.
      expect((await ceph.versions(bucket)).sort()).toEqual(["held", "held/2", "held/2"]);
      expect(await listed(store, "")).toEqual([{ key: "held", sizeBytes: 1 }]);
      await expect(store.erase(["held"])).rejects.toMatchObject({ code: "LOCKED_OBJECT" });
    },
  );
});

describe("The S3 store erases", () => {
  let fake: FakeS3;
  beforeEach(async () => {
    fake = await startFakeS3();
  });
  afterEach(() => fake.close());

  const clock: RetryClock = { now: () => 0, sleep: async () => {}, random: () => 0 };
  const NO_VERSIONS = success("<VersioningConfiguration/>");
  const erase = async (answers: Answer[], keys = ["a", "b"]): Promise<void> => {
    fake.script.push(...answers);
    await openS3Store(fake.url({ attempts: "3" }), {}, clock).erase(keys);
  };
  const errors = (...codes: [string, string][]): Answer =>
    success(
      `<DeleteResult>${codes
        .map(([key, code]) => `<Error><Key>${key}</Key><Code>${code}</Code></Error>`)
        .join("")}</DeleteResult>`,
    );
  const calls = (): string[] =>
    fake.seen.map(({ method, path }) => `${method} ${path}`.replace(/=$/, ""));

  test("with one request for many, and with MD5 instead of newer checksums", async () => {
    await erase([NO_VERSIONS, errors()]);
    expect(calls()).toEqual(["GET /bucket/?versioning", "POST /bucket/?delete"]);
    const names = Object.keys(fake.seen[1]?.headers ?? {});
    expect(names).toContain("content-md5");
    expect(names.filter((name) => name.includes("checksum"))).toEqual([]);
  });

  test("one by one where the server cannot take many, and asks that only once", async () => {
    const keys = Array.from({ length: 1001 }, (_, number) => `k/${number}`);
    const singles = keys.map(() => success());
    await erase([NO_VERSIONS, failure(501, "NotImplemented"), ...singles], keys);
    expect(calls().filter((call) => call.startsWith("DELETE "))).toHaveLength(1001);
    expect(calls().filter((call) => call.startsWith("POST "))).toHaveLength(1);
  });

  test("without versions where the server neither says whether it keeps them nor lists them", async () => {
    const denied = failure(403, "AccessDenied");
    await erase([denied, denied, denied, errors()]);
    expect(calls().at(-1)).toBe("POST /bucket/?delete");
    expect(new TextDecoder().decode(fake.seen.at(-1)?.body)).not.toContain("VersionId");
  });

  test("again what failed for a moment, and not what is gone", async () => {
    await erase([NO_VERSIONS, errors(["a", "SlowDown"], ["b", "NoSuchKey"]), errors()]);
    expect(calls()).toHaveLength(3);
  });

  test("and says which right is missing", async () => {
    const answers = [NO_VERSIONS, errors(["b", "AccessDenied"]), success()];
    await expect(erase(answers)).rejects.toMatchObject({
      code: "STORE_DENIED",
      message: expect.stringContaining("/b"),
      why: "the server answers 403 AccessDenied",
    });
  });

  test("and says of a legal hold that it has no end", async () => {
    const head = success("", { "x-amz-object-lock-legal-hold": "ON" });
    const answers = [NO_VERSIONS, errors(["b", "AccessDenied"]), head];
    await expect(erase(answers)).rejects.toMatchObject({
      code: "LOCKED_OBJECT",
      why: "the bucket keeps it (legal hold)",
    });
  });
});
