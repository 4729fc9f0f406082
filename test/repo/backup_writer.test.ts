import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { PACK_BYTES_MAX, WINDOW_BLOCKS } from "../../src/core/limits.ts";
import { extentsOf, RECORD_KIND, windowOf } from "../../src/core/records.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { readBlocks } from "../../src/repo/block_reader.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { contentRuns } from "../../src/runtime/zero_scan.ts";
import {
  BLOCK_BYTES,
  content,
  exampleManifest,
  newRepository,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

const MIB = 1 << 20;

/** A store that takes everything and keeps nothing. */
class DevNull extends MemoryStore {
  putBytes = 0;
  largestPut = 0;
  override async put(_key: string, body: Uint8Array): Promise<void> {
    this.putBytes += body.length;
    this.largestPut = Math.max(this.largestPut, body.length);
  }
}

/** Puts wait for `letThrough`. */
class SlowStore extends MemoryStore {
  putCount = 0;
  underWay = 0;
  readonly #first = Promise.withResolvers<void>();
  readonly #gate = Promise.withResolvers<void>();
  /** Resolves when a put has begun. */
  readonly begun = this.#first.promise;

  letThrough(): void {
    this.#gate.resolve();
  }

  override async put(...args: Parameters<MemoryStore["put"]>): Promise<void> {
    this.putCount += 1;
    this.underWay += 1;
    this.#first.resolve();
    await this.#gate.promise;
    await super.put(...args);
    this.underWay -= 1;
  }
}

/** Every record of a backup, as the index objects tell them. */
async function recordsOf(repository: Repository, backup: Awaited<ReturnType<typeof takeBackup>>) {
  const { manifest } = backup;
  const records = [];
  for (const index of manifest.indexes) {
    const decoded = await repository.indexes.read(manifest, index);
    for (let record = 0; record < decoded.records.count; record++) {
      const kind = decoded.records.kinds[record];
      records.push({ kind, extents: extentsOf(decoded.records, record) });
    }
  }
  return records;
}

describe("a backup writer", () => {
  test("has one zero record for a sparse disk of 128 GiB, and holds almost nothing", async () => {
    const repository = await newRepository();
    const blockCount = 128 * 1024 * 256;
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount });
    const zeroes = new Uint8Array(4 * MIB);
    for (let block = 0; block < blockCount; block += 1024) {
      await writer.add({ firstBlock: block, blockCount: 1024 }, zeroes);
    }
    const written = await writer.finish();
    expect(writer.bytesHeldMax).toBe(0);
    expect(written.bytesStored).toBeLessThan(100);
    expect(written).toMatchObject({ blocksChanged: blockCount, blocksZero: blockCount });
    const backup = await repository.commit(exampleManifest(0, { blockCount, ...written }));
    const extents = [{ firstBlock: 0, blockCount }];
    expect(await recordsOf(repository, backup)).toEqual([{ kind: RECORD_KIND.zero, extents }]);
    let pieceCount = 0;
    for await (const { kind } of readBlocks(repository, [backup])) {
      expect(kind).toBe("zero");
      pieceCount += 1;
    }
    expect(pieceCount).toBe(blockCount / WINDOW_BLOCKS);
  });

  test("holds at most 96 MiB, however much is written, and no pack is larger than 16 MiB", async () => {
    const store = new DevNull();
    const repository = await newRepository(store);
    const blockCount = 200 * 256;
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount });
    const noise = new Uint8Array(MIB);
    const random = seededRandom(3);
    for (let at = 0; at < noise.length; at++) noise[at] = random(256);
    const pending: Promise<void>[] = [];
    for (let block = 0; block < blockCount; block += 256) {
      pending.push(writer.add({ firstBlock: block, blockCount: 256 }, noise));
    }
    await Promise.all(pending);
    const { bytesStored, indexes } = await writer.finish();
    expect(store.putBytes).toBe(bytesStored);
    expect(bytesStored).toBeLessThan(201 * MIB);
    expect(store.largestPut).toBeLessThanOrEqual(PACK_BYTES_MAX);
    expect(writer.bytesHeldMax).toBeLessThanOrEqual(96 * MIB);
    expect(indexes).toHaveLength(1);
  });

  test("fills frames of 64 blocks from scattered blocks, and never across a window", async () => {
    const repository = await newRepository();
    const blockCount = 2 * WINDOW_BLOCKS;
    const blocks = Array.from({ length: 200 }, (_, at) => WINDOW_BLOCKS - 3000 + at * 30);
    const changes = blocks.map((firstBlock, at) => ({
      firstBlock,
      blockCount: 1,
      bytes: content(1, at),
    }));
    const parent = await takeBackup(repository, { blockCount }, [{ firstBlock: 0, blockCount }]);
    const backup = await takeBackup(repository, { blockCount, parent }, changes);
    const records = await recordsOf(repository, backup);
    expect(records.map(({ extents }) => extents.length)).toEqual([64, 36, 64, 36]);
    for (const { extents } of records) {
      const windows = new Set(extents.map(({ firstBlock }) => windowOf(firstBlock)));
      expect(windows.size).toBe(1);
    }
  });

  test("sorts blocks that came out of order within a frame", async () => {
    const repository = await newRepository();
    const blocks = [9, 3, 4, 0, 7, 1];
    const disk = new Uint8Array(10 * BLOCK_BYTES);
    const changes = blocks.map((firstBlock, at) => {
      const bytes = content(1, at);
      disk.set(bytes, firstBlock * BLOCK_BYTES);
      return { firstBlock, blockCount: 1, bytes };
    });
    const backup = await takeBackup(repository, { blockCount: 10 }, [
      { firstBlock: 0, blockCount: 10 },
      ...changes,
    ]);
    expect(Buffer.compare(await restore(repository, [backup]), disk)).toBe(0);
    const [, frame] = await recordsOf(repository, backup);
    expect(frame?.extents).toEqual([
      { firstBlock: 0, blockCount: 2 },
      { firstBlock: 3, blockCount: 2 },
      { firstBlock: 7, blockCount: 1 },
      { firstBlock: 9, blockCount: 1 },
    ]);
  });

  test("lets the last add of a block count, zero or not", async () => {
    const repository = await newRepository();
    const [one, two] = [content(4, 1), content(4, 2)];
    const whole = { firstBlock: 0, blockCount: 4 };
    const backup = await takeBackup(repository, { blockCount: 4 }, [
      { ...whole, bytes: one },
      whole,
      { ...whole, bytes: two },
      { firstBlock: 1, blockCount: 1 },
      { firstBlock: 2, blockCount: 1, bytes: one.subarray(0, BLOCK_BYTES) },
    ]);
    const wanted = two.slice();
    wanted.fill(0, BLOCK_BYTES, 2 * BLOCK_BYTES);
    wanted.set(one.subarray(0, BLOCK_BYTES), 2 * BLOCK_BYTES);
    expect(Buffer.compare(await restore(repository, [backup]), wanted)).toBe(0);
  });

  test("does not touch or keep the buffer once add has resolved", async () => {
    const repository = await newRepository();
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: 256 });
    const buffer = content(64, 1);
    for (let block = 0; block < 256; block += 64) {
      const bytes = content(64, block + 1);
      buffer.set(bytes);
      await writer.add({ firstBlock: block, blockCount: 64 }, buffer);
      expect(Buffer.compare(buffer, bytes)).toBe(0);
      buffer.fill(0xff);
    }
    const written = await writer.finish();
    const backup = await repository.commit(exampleManifest(0, { blockCount: 256, ...written }));
    const disk = await restore(repository, [backup]);
    for (let block = 0; block < 256; block += 64) {
      const part = disk.subarray(block * BLOCK_BYTES, (block + 64) * BLOCK_BYTES);
      expect(Buffer.compare(part, content(64, block + 1))).toBe(0);
    }
  });

  test("works with blocks of 1 MiB, whose frames have four", async () => {
    const repository = await newRepository();
    const blockBytes = MIB;
    const writer = openBackupWriter(repository, { blockBytes, blockCount: 10 });
    const bytes = content((10 * MIB) / BLOCK_BYTES, 4);
    await writer.add({ firstBlock: 0, blockCount: 10 }, bytes);
    const written = await writer.finish();
    const backup = await repository.commit(
      exampleManifest(0, { blockBytes, blockCount: 10, ...written }),
    );
    expect(written.indexes[0]?.frameCount).toBe(3);
    for await (const piece of readBlocks(repository, [backup])) {
      if (piece.kind !== "data") throw new Error("It has no zeroes");
      const start = piece.firstBlock * MIB;
      const part = bytes.subarray(start, start + piece.blockCount * MIB);
      expect(Buffer.compare(piece.bytes, part)).toBe(0);
    }
  });

  test("begins no upload while it stands still, takes blocks all the same, and goes on", async () => {
    const store = new SlowStore();
    const repository = await newRepository(store);
    const blockCount = 12 * 1024;
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount });
    const noise = new Uint8Array(4 * MIB);
    const random = seededRandom(5);
    for (let at = 0; at < noise.length; at++) noise[at] = random(256);
    const add = (piece: number) =>
      writer.add({ firstBlock: piece * 1024, blockCount: 1024 }, noise);
    for (let piece = 0; piece < 6; piece++) await add(piece);
    await store.begun;

    let isStill = false;
    const quiesced = writer.quiesce().then(() => {
      isStill = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(isStill).toBe(false);
    store.letThrough();
    await quiesced;
    const puts = store.putCount;
    expect(store.underWay).toBe(0);
    for (let piece = 6; piece < 10; piece++) await add(piece);
    expect(store.putCount).toBe(puts);
    writer.resume();
    for (let piece = 10; piece < 12; piece++) await add(piece);
    const written = await writer.finish();
    expect(store.putCount).toBeGreaterThan(puts);
    const backup = await repository.commit(exampleManifest(0, { blockCount, ...written }));
    const disk = await restore(repository, [backup]);
    for (let piece = 0; piece < 12; piece++) {
      const start = piece * noise.length;
      expect(Buffer.compare(disk.subarray(start, start + noise.length), noise)).toBe(0);
    }
  });

  test("can be given up while it stands still", async () => {
    const repository = await newRepository(new DevNull());
    const blockCount = 24 * 1024;
    const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount });
    await writer.quiesce();
    const bytes = content(1024, 1);
    const pending = Array.from({ length: 24 }, (_, piece) =>
      writer.add({ firstBlock: piece * 1024, blockCount: 1024 }, bytes),
    );
    const results = Promise.allSettled(pending);
    await writer.abort();
    expect((await results).some(({ status }) => status === "rejected")).toBe(true);
  });
});

describe("what leaves is checked before", () => {
  test.each([false, true])(
    "a frame that does not unpack stops the backup (noise: %s)",
    async (noise) => {
      const store = new MemoryStore();
      const repository = await newRepository(store);
      const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: 4096 });
      // The memory of a writer goes wrong: what it has packed is no longer what it was told.
      const set = Uint8Array.prototype.set;
      let spoilt = 0;
      Uint8Array.prototype.set = function (this: Uint8Array, ...args) {
        set.apply(this, args);
        const isPack = this.length === PACK_BYTES_MAX && (args[0].length ?? 0) > 1000;
        if (isPack && spoilt++ === 3) this[(args[1] ?? 0) + 500]! ^= 1;
      };
      try {
        const bytes = content(1024, 1);
        if (noise) {
          const random = seededRandom(5);
          for (let at = 0; at < bytes.length; at++) bytes[at] = random(256);
        }
        await writer.add({ firstBlock: 0, blockCount: 1024 }, bytes);
        await expect(writer.finish()).rejects.toMatchObject({ code: "CORRUPT_DATA" });
      } finally {
        Uint8Array.prototype.set = set;
        await writer.abort();
      }
      expect(spoilt).toBeGreaterThan(3);
      expect([...store.objects.keys()]).toEqual(["repository"]);
    },
  );
});

describe("contentRuns()", () => {
  test("tells zero blocks from others, whichever single byte is set", () => {
    const bytes = new Uint8Array(4 * BLOCK_BYTES);
    expect([...contentRuns(bytes, BLOCK_BYTES)]).toEqual([
      { block: 0, blockCount: 4, isZero: true },
    ]);
    for (const at of [0, 1, 2047, 4095]) {
      bytes.fill(0);
      bytes[BLOCK_BYTES + at] = 1;
      expect([...contentRuns(bytes, BLOCK_BYTES)]).toEqual([
        { block: 0, blockCount: 1, isZero: true },
        { block: 1, blockCount: 1, isZero: false },
        { block: 2, blockCount: 2, isZero: true },
      ]);
    }
  });
});
