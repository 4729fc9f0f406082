import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { diskTagOf, nextSequence } from "../../src/core/manifest_key.ts";
import { assert, IbackupError } from "../../src/errors.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { acquireLease } from "../../src/repo/lease.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import type { Store } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  content,
  continuing,
  exampleManifest,
  newRepository,
  restore,
  seededRandom,
} from "../support/backups.ts";
import { playEveryFault } from "../support/every_fault.ts";
import { FALSE_FAULTS, FaultStore, HONEST_FAULTS } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const TAG = diskTagOf({ vmId: "vm-1", diskName: "vda" }, sha256Hex);
const BLOCKS = 4200;

/** Does not compress, so that 4,200 blocks make two packs. */
function noise(blockCount: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const words = new Uint32Array((blockCount * BLOCK_BYTES) / 4);
  for (let at = 0; at < words.length; at++) words[at] = random(2 ** 32);
  return new Uint8Array(words.buffer);
}

const FIRST = noise(BLOCKS, 11);
const SECOND = content(1000, 12);

/** What the disk holds at the time of each flush. The number is told by `passes` of its manifest. */
const DISKS = [FIRST, changed(FIRST, 500, SECOND), changed(FIRST, 900, content(1200, 13))];

function changed(disk: Uint8Array, firstBlock: number, bytes: Uint8Array): Uint8Array {
  const copy = disk.slice();
  copy.set(bytes, firstBlock * BLOCK_BYTES);
  return copy;
}

/** A flush as far as the repository sees one: lease, what there is, blocks, manifest. */
async function flush(store: Store, diskNumber: number): Promise<void> {
  const repository = await openRepository(store);
  const holder = { holder: "0".repeat(32), machine: "m", hostName: "h", bootId: "b" };
  const leaseholder = { ...holder, lockFile: "1:2", pid: 1, process: "" };
  const answer = await acquireLease(store, {
    diskTag: TAG,
    holder: leaseholder,
    now: () => new Date(),
    hasEnded: () => false,
  });
  assert("held" in answer, "a lease of the same disk and machine keeps nobody out");
  const damaged: string[] = [];
  const backups = await repository.manifests(({ key }) => damaged.push(key));
  const parent = backups.findLast((backup) => isWhole(backups, backup));
  const saved = parent && DISKS[parent.manifest.passes - 1];
  const disk = DISKS[diskNumber] ?? FIRST;
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
  try {
    for (const extent of differences(disk, saved)) {
      const start = extent.firstBlock * BLOCK_BYTES;
      await writer.add(extent, disk.subarray(start, start + extent.blockCount * BLOCK_BYTES));
    }
    const written = await writer.finish();
    const sequence = nextSequence([...backups.map(({ key }) => key), ...damaged], TAG);
    const fields = { ...continuing(parent), ...written, sequence, passes: diskNumber + 1 };
    const { backupId } = exampleManifest(100 + diskNumber);
    await repository.commit(exampleManifest(sequence, { blockCount: BLOCKS, ...fields, backupId }));
  } catch (error) {
    await writer.abort();
    throw error;
  } finally {
    await answer.held.release().catch(() => undefined);
  }
}

function isWhole(backups: readonly StoredManifest[], { manifest }: StoredManifest): boolean {
  try {
    return chainOf(backups, manifest.backupId).length > 0;
  } catch {
    return false;
  }
}

function differences(disk: Uint8Array, saved: Uint8Array | undefined): BlockExtent[] {
  if (!saved) return [{ firstBlock: 0, blockCount: BLOCKS }];
  const blocks = Array.from({ length: BLOCKS }, (_, block) => block).filter((block) => {
    const range = [block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES] as const;
    return Buffer.compare(disk.subarray(...range), saved.subarray(...range)) !== 0;
  });
  const firstBlock = blocks[0] ?? 0;
  return blocks.length === 0
    ? []
    : [{ firstBlock, blockCount: (blocks.at(-1) ?? 0) + 1 - firstBlock }];
}

/**
 * Restores each backup that is listed: it gives what it should, or says what is damaged.
 *
 * @returns The number of the disk that each gave, or "damaged".
 */
async function outcomes(store: Store): Promise<(number | "damaged")[]> {
  const repository = await openRepository(store);
  const results: (number | "damaged")[] = [];
  const unreadable: "damaged"[] = [];
  const backups = await repository.manifests(() => unreadable.push("damaged"));
  for (const stored of backups) {
    const number = stored.manifest.passes - 1;
    try {
      const found = await restore(repository, chainOf(backups, stored.manifest.backupId));
      expect(Buffer.compare(found, DISKS[number]!)).toBe(0);
      results.push(number);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      expect(error).toMatchObject({ code: "CORRUPT_DATA" });
      results.push("damaged");
    }
  }
  return [...results, ...unreadable];
}

describe.each([
  { flushed: "a base", number: 0 },
  { flushed: "an incremental", number: 1 },
])("whichever call of $flushed goes wrong", { timeout: 300_000 }, ({ number }) => {
  const prepare = async (): Promise<MemoryStore> => {
    const store = new MemoryStore();
    await newRepository(store);
    for (let earlier = 0; earlier < number; earlier++) await flush(store, earlier);
    return store;
  };
  const earlier = [...Array(number).keys()];
  const calls = number === 0 ? 8 : 9;

  test("all that is listed is right, and the next one too", async () => {
    const made = await playEveryFault({
      before: await prepare(),
      faults: HONEST_FAULTS,
      act: (store) => flush(store, number),
      check: async ({ store, settle, failure, fault }) => {
        const listed = await outcomes(store);
        expect(listed.slice(0, number)).toEqual(earlier);
        expect(listed.slice(number)).toEqual(
          failure === undefined || listed.length > number ? [number] : [],
        );
        if (fault === "twice") expect(failure).toBeUndefined();
        await flush(store, number + 1);
        await settle();
        expect(await outcomes(store)).toEqual([...listed, number + 1]);
      },
    });
    expect(made).toBeGreaterThanOrEqual(calls);
  });

  const lies = { timeout: 240_000 };
  test(
    "by a store that lies: all that is listed is right, or is said to be damaged",
    lies,
    async () => {
      let damaged = 0;
      await playEveryFault({
        before: await prepare(),
        faults: FALSE_FAULTS,
        act: (store) => flush(store, number),
        check: async ({ store, settle }) => {
          const listed = await outcomes(store);
          expect(listed.slice(0, number)).toEqual(earlier);
          await flush(store, number + 1);
          await settle();
          const all = await outcomes(store);
          // A flush cannot know of damage in packs. But a base of its own is right.
          if (!all.includes("damaged")) expect(all).toEqual([...listed, number + 1]);
          else damaged += 1;
        },
      });
      expect(damaged).toBeGreaterThan(3);
    },
  );
});

describe("a backup writer", () => {
  test("reports what an upload failed with to add or finish, whatever came later", async () => {
    const inner = new MemoryStore();
    await newRepository(inner);
    const faulty = new FaultStore(inner, { nth: 1, fault: "fail", calls: ["put"], onwards: true });
    const repository = await openRepository(faulty);
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
    const work = async () => {
      for (let block = 0; block < BLOCKS; block += 200) {
        const bytes = FIRST.subarray(block * BLOCK_BYTES, (block + 200) * BLOCK_BYTES);
        await writer.add({ firstBlock: block, blockCount: 200 }, bytes);
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
    await writer.add({ firstBlock: 0, blockCount: BLOCKS }, FIRST);
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
    await writer.add({ firstBlock: 0, blockCount: BLOCKS }, FIRST);
    const finished = writer.finish();
    control.abort(new Error("interrupted"));
    await expect(finished).rejects.toThrow("interrupted");
  });
});
