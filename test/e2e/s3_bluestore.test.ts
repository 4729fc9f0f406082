/** A server that keeps its objects on a disk, as in production, in all the troubles that it can have. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  restore,
  takeBackup,
} from "../support/backups.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";

const MIB = 1 << 20;
const BLOCKS = 4000;

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph({ onDisk: "/var/tmp" });
});
afterAll(() => ceph?.stop());

test("keeps every object that it said it has, when all of it is killed during uploads", async () => {
  await ceph.createBucket("killed");
  const body = (key: number, round: number): Uint8Array => content(256, 1000 * round + key);
  for (let round = 0; round < 3; round++) {
    const store = await openStore(ceph.url("killed", { attempts: "1" }));
    const stored = new Set<number>();
    const puts = Array.from({ length: 24 }, async (_, key) => {
      try {
        await store.put(`${round}/${key}`, body(key, round));
        stored.add(key);
      } catch (error) {
        if (!(error instanceof IbackupError)) throw error;
        expect(error.code).toBe("STORE_UNREACHABLE");
      }
    });
    await Promise.race(puts);
    await ceph.killAndRestart();
    await Promise.all(puts);
    expect(stored.size).toBeGreaterThan(0);
    for (let key = 0; key < 24; key++) {
      const kept = await store.get(`${round}/${key}`, { maxBytes: MIB });
      if (stored.has(key)) expect(kept).toBeDefined();
      if (kept) expect(Buffer.compare(kept, body(key, round))).toBe(0);
    }
    await store.close();
  }
});

/** What can become of a bucket, what is then said, and how it is put right. */
const TROUBLES: {
  trouble: string;
  begin: (bucket: string) => Promise<void>;
  end: (bucket: string) => Promise<void>;
  code: string;
  why: RegExp;
}[] = [
  {
    trouble: "the user is suspended",
    begin: async () => void ceph.admin("user", "suspend", "--uid=test"),
    end: async () => void ceph.admin("user", "enable", "--uid=test"),
    code: "STORE_DENIED",
    why: /UserSuspended/,
  },
  {
    trouble: "the quota is full",
    begin: async () => {
      ceph.admin("quota", "set", "--uid=test", "--quota-scope=bucket", "--max-size=4096");
      ceph.admin("quota", "enable", "--uid=test", "--quota-scope=bucket");
    },
    end: async () => void ceph.admin("quota", "disable", "--uid=test", "--quota-scope=bucket"),
    code: "STORE_FULL",
    why: /QuotaExceeded/,
  },
  {
    trouble: "the gateway is gone",
    begin: () => ceph.killGateway(),
    end: () => ceph.startGateway(),
    code: "STORE_UNREACHABLE",
    why: /ECONNREFUSED|socket|closed/,
  },
];

const BUCKETS = [
  // It keeps versions, too.
  { kind: "locked", options: { locked: true } },
  { kind: "plain", options: {} },
  { kind: "versioned", options: { versioned: true } },
];

describe.each(env["IBACKUP_LONG"] === undefined ? BUCKETS.slice(0, 1) : BUCKETS)(
  "in a $kind bucket",
  ({ kind, options }) => {
    const lock = { mode: "governance", retainMs: 24 * 60 * 60 * 1000 } as const;
    const settings = kind === "locked" ? { lock } : {};
    const open = async () => await openStore(ceph.url(kind, { attempts: "2" }), settings);
    const disk = content(BLOCKS, 1);
    let changes = 0;

    beforeAll(async () => {
      await ceph.createBucket(kind, options);
      const repository = await newRepository(await open());
      const whole = { firstBlock: 0, blockCount: BLOCKS, bytes: disk };
      await takeBackup(repository, { blockCount: BLOCKS }, [whole]);
    });

    async function takeNext(): Promise<void> {
      const repository = await openRepository(await open());
      const parent = (await repository.manifests()).at(-1);
      const bytes = new Uint8Array(randomBytes(64 * BLOCK_BYTES));
      const change = { firstBlock: 100 * changes, blockCount: 64, bytes };
      await takeBackup(repository, { blockCount: BLOCKS, parent }, [change]);
      disk.set(bytes, change.firstBlock * BLOCK_BYTES);
      changes += 1;
    }

    async function expectNewestRight(count: number): Promise<void> {
      const repository = await openRepository(await open());
      const backups = await repository.manifests();
      expect(backups).toHaveLength(count);
      const newest = backups.at(-1);
      if (!newest) throw new Error("there is no backup");
      const restored = await restore(repository, await chainTo(repository, newest));
      expect(Buffer.compare(restored, disk)).toBe(0);
    }

    test.each(TROUBLES)("$trouble: it is told, and nothing is lost", async (trouble) => {
      const before = changes + 1;
      await trouble.begin(kind);
      try {
        await expect(takeNext()).rejects.toMatchObject({
          code: trouble.code,
          why: expect.stringMatching(trouble.why),
          fix: expect.stringMatching(/./),
        });
      } finally {
        await trouble.end(kind);
      }
      await expectNewestRight(before);
      await takeNext();
      await expectNewestRight(before + 1);
    });

    test("most requests are turned away with 503: it takes longer, and nothing is lost", async () => {
      await ceph.killGateway();
      await ceph.startGateway("--rgw_max_concurrent_requests=1");
      try {
        const busy = await openStore(ceph.url(kind), settings);
        const bodies = Array.from({ length: 12 }, () => randomBytes(MIB));
        await Promise.all(bodies.map((body, number) => busy.put(`busy/${number}`, body)));
        for (const [number, body] of bodies.entries()) {
          expect(body.equals((await busy.get(`busy/${number}`, { maxBytes: MIB }))!)).toBe(true);
        }
      } finally {
        await ceph.killGateway();
        await ceph.startGateway();
      }
      await expectNewestRight(changes + 1);
    });

    test("all of it is killed in the middle of a backup: the next one is right", async () => {
      const before = changes + 1;
      const repository = await openRepository(await open());
      const parent = (await repository.manifests()).at(-1);
      const bytes = new Uint8Array(randomBytes(3000 * BLOCK_BYTES));
      const change = { firstBlock: 500, blockCount: 3000, bytes };
      const taking = takeBackup(repository, { blockCount: BLOCKS, parent }, [change]);
      const outcome = taking.then(
        () => "done",
        (error: unknown) => error,
      );
      await ceph.killAndRestart();
      // It may just have been through.
      if ((await outcome) === "done") {
        disk.set(bytes, change.firstBlock * BLOCK_BYTES);
        changes += 1;
        await expectNewestRight(before + 1);
      } else {
        expect(await outcome).toMatchObject({ code: "STORE_UNREACHABLE" });
        await expectNewestRight(before);
      }
      await takeNext();
      await expectNewestRight(changes + 1);
    });

    if (kind !== "locked") return;

    test("nothing can be removed before its time", async () => {
      const store = await open();
      const repository = await openRepository(store);
      const backups = await repository.manifests();
      await expect(store.erase(backups.map(({ key }) => key))).rejects.toMatchObject({
        code: "LOCKED_OBJECT",
        why: expect.stringContaining("until"),
      });
      await expectNewestRight(backups.length);
    });
  },
);
