/** The fence and the lease where the condition of a put is a real server's. */
import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { acquireLease } from "../../src/repo/lease.ts";
import { createRepository, openRepository } from "../../src/repo/repository.ts";
import { openStore } from "../../src/store/open.ts";
import type { Store } from "../../src/store/store.ts";
import { continuing, exampleManifest } from "../support/backups.ts";
import { type Ceph, startCeph } from "../support/ceph.ts";

const ROUNDS = 10;
const WRITERS = 8;

let ceph: Ceph;
beforeAll(async () => {
  ceph = await startCeph();
});
afterAll(() => ceph?.stop());

// Where versions are kept, Ceph ignores the condition.
describe.each([
  { kind: "plain", options: {} },
  { kind: "versioned", options: { versioned: true } },
  { kind: "locked", options: { locked: true } },
])("in a $kind bucket", ({ kind, options }) => {
  let stores: Store[];
  beforeAll(async () => {
    await ceph.createBucket(kind, options);
    const url = ceph.url(`${kind}/prefix`);
    stores = await Promise.all(Array.from({ length: WRITERS }, () => openStore(url)));
  });
  afterAll(async () => {
    for (const store of stores) await store.close();
  });

  test(`of ${WRITERS} writers that continue the same backup one commits`, async () => {
    const id = "6c1f1d0e-73a9-4b9e-8a5e-0d7f6a3c2b10";
    await createRepository(stores[0]!, { id, createdAt: new Date(0) });
    const repositories = await Promise.all(stores.map((store) => openRepository(store)));
    for (let round = 0; round < ROUNDS; round++) {
      const newest = (await repositories[0]!.manifests()).at(-1);
      const settled = await Promise.allSettled(
        repositories.map((repository, writer) => {
          const { backupId } = exampleManifest(1000 + round * WRITERS + writer);
          return repository.commit(exampleManifest(0, { ...continuing(newest), backupId }));
        }),
      );
      const won = settled.filter(({ status }) => status === "fulfilled");
      expect(won).toHaveLength(1);
      for (const each of settled) {
        if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "LOCKED" });
      }
    }
    const sequences = (await repositories[1]!.manifests()).map(({ manifest }) => manifest.sequence);
    expect(sequences).toEqual([...Array(ROUNDS).keys()]);
  });

  test(`of ${WRITERS} machines that ask for a lease one gets it`, async () => {
    const diskTag = "d".repeat(32);
    const answers = await Promise.all(
      stores.map((store, writer) => {
        const names = {
          machine: `${writer}`,
          hostName: `web-${writer}`,
          bootId: "b",
          lockFile: "1:2",
        };
        const holder = { holder: randomBytes(16).toString("hex"), pid: 1, process: "", ...names };
        const now = () => new Date();
        return acquireLease(store, { diskTag, holder, now, hasEnded: () => false });
      }),
    );
    const [held, ...others] = answers.flatMap((answer) => ("held" in answer ? [answer.held] : []));
    expect(others).toEqual([]);
    await held?.release();
    const left: string[] = [];
    for await (const { key } of stores[0]!.list("leases/")) left.push(key);
    expect(left).toEqual([]);
  });
});
