import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { openRepository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { type Fault, FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 6000;

/** Does not compress, so that 6,000 blocks make two packs. */
function noise(blockCount: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const words = new Uint32Array((blockCount * BLOCK_BYTES) / 4);
  for (let at = 0; at < words.length; at++) words[at] = random(2 ** 32);
  return new Uint8Array(words.buffer);
}

const FIRST = noise(BLOCKS, 11);
const SECOND = content(1000, 12);

async function takeBase(store: Store): Promise<StoredManifest> {
  const repository = await openRepository(store);
  return await takeBackup(repository, { blockCount: BLOCKS }, [
    { firstBlock: 0, blockCount: BLOCKS, bytes: FIRST },
  ]);
}

async function takeChild(store: Store, base: StoredManifest): Promise<StoredManifest> {
  const repository = await openRepository(store);
  return await takeBackup(repository, { blockCount: BLOCKS, parent: base }, [
    { firstBlock: 500, blockCount: 1000, bytes: SECOND },
  ]);
}

/** Every backup that is listed restores to what it should be, or is refused. */
async function listedBackups(store: Store): Promise<string[]> {
  const repository = await openRepository(store);
  const all = await repository.manifests();
  for (const stored of all) {
    const disk = FIRST.slice();
    if (stored.manifest.type === "incremental") disk.set(SECOND, 500 * BLOCK_BYTES);
    const found = await restore(repository, await chainTo(repository, stored));
    expect(Buffer.compare(found, disk)).toBe(0);
  }
  return all.map(({ manifest }) => manifest.type);
}

describe.each<Fault>(["fail", "fail after"])("a store that will %s at the Nth call", (fault) => {
  test("leaves no wrong backup after a base, and the next base is whole", async () => {
    for (let nth = 1; ; nth++) {
      const inner = new MemoryStore();
      await newRepository(inner);
      const faulty = new FaultStore(inner, { nth, fault });
      const outcome = await takeBase(faulty).then(
        () => "done",
        () => "failed",
      );
      if (!faulty.fired) {
        expect(nth).toBeGreaterThan(4);
        expect(outcome).toBe("done");
        break;
      }
      expect(outcome).toBe("failed");
      const listed = await listedBackups(inner);
      expect(listed.length).toBeLessThanOrEqual(fault === "fail" ? 0 : 1);
      await takeBase(inner);
      expect(await listedBackups(inner)).toEqual(["base"]);
    }
  });

  test("leaves no wrong backup after an incremental, and the next one is whole", async () => {
    for (let nth = 1; ; nth++) {
      const inner = new MemoryStore();
      await newRepository(inner);
      const base = await takeBase(inner);
      const faulty = new FaultStore(inner, { nth, fault });
      await takeChild(faulty, base).catch(() => undefined);
      if (!faulty.fired) break;
      const listed = await listedBackups(inner);
      expect(listed[0]).toBe("base");
      await takeChild(inner, base);
      expect(await listedBackups(inner)).toEqual(["base", "incremental"]);
    }
  });
});

describe("a backup writer", () => {
  test("reports what an upload failed with to add or finish, whatever came later", async () => {
    const inner = new MemoryStore();
    await newRepository(inner);
    const faulty = new FaultStore(inner, { nth: 1, fault: "fail", calls: ["put"], onwards: true });
    const repository = await openRepository(faulty);
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
    const work = async () => {
      for (let block = 0; block < BLOCKS; block += 250) {
        const bytes = FIRST.subarray(block * BLOCK_BYTES, (block + 250) * BLOCK_BYTES);
        await writer.add({ firstBlock: block, blockCount: 250 }, bytes);
      }
      await writer.finish();
    };
    await expect(work()).rejects.toMatchObject({ code: "STORE_UNREACHABLE" });
    await expect(
      writer.add({ firstBlock: 0, blockCount: 1 }, new Uint8Array(4096)),
    ).rejects.toThrow();
    await writer.abort();
  });

  test("ends a hanging upload when it is aborted, and stores no manifest", async () => {
    const inner = new MemoryStore();
    await newRepository(inner);
    const repository = await openRepository(
      new FaultStore(inner, { nth: 1, fault: "hang", calls: ["put"] }),
    );
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
    await writer.add({ firstBlock: 0, blockCount: 5000 }, FIRST.subarray(0, 5000 * BLOCK_BYTES));
    await writer.abort();
    expect([...inner.objects.keys()].filter((key) => key.startsWith("manifests/"))).toEqual([]);
  });

  test("stops with the reason of its signal, in the middle of an upload too", async () => {
    const inner = new MemoryStore();
    await newRepository(inner);
    const repository = await openRepository(
      new FaultStore(inner, { nth: 1, fault: "hang", calls: ["put"] }),
    );
    const control = new AbortController();
    const writer = openBackupWriter(repository, {
      blockBytes: BLOCK_BYTES,
      blockCount: BLOCKS,
      signal: control.signal,
    });
    await writer.add({ firstBlock: 0, blockCount: 5000 }, FIRST.subarray(0, 5000 * BLOCK_BYTES));
    const finished = writer.finish();
    control.abort(new Error("interrupted"));
    await expect(finished).rejects.toThrow("interrupted");
  });
});
