import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { Repository, type RepositoryKeys } from "../../src/repo/repository.ts";
import { rewriteBackup } from "../../src/repo/rewrite.ts";
import { BLOCK_BYTES, content, newRepository, restore, takeBackup } from "../support/backups.ts";
import { BLOCKS, check, collect, HOUR_MS, idOf, TimedStore } from "../support/timed_store.ts";

describe("rewriting", () => {
  /** A base of many frames, of which incrementals overwrite most; then only the newest is left. */
  async function mostlyDead(keys?: RepositoryKeys) {
    const store = new TimedStore();
    const repository = new Repository(store, (await newRepository(store)).id, keys);
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

  test("leaves the keys of packs that others use as well", async () => {
    const keys = { hasIdentity: true, wrap: async (key: Uint8Array) => new Uint8Array(key) };
    const plain = { ...keys, unwrap: async (wrapped: Uint8Array) => wrapped };
    const { repository, images } = await mostlyDead(plain);
    const [stored] = await repository.manifests();
    expect((await rewriteBackup(repository, stored!))?.packs).toBe(2);
    // By what was read of it before: as another backup of the same packs would be rewritten.
    for (const one of [stored!, ...(await repository.manifests())]) {
      const found = await restore(repository, [one]);
      expect(Buffer.compare(found, images.get(idOf(one))!)).toBe(0);
    }
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
