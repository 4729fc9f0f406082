/** What tests of gc share: a store whose clock they turn, a chain of backups in it, and a look at all. */
import { Buffer } from "node:buffer";
import { expect } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { collectGarbage, type GcOptions } from "../../src/repo/garbage.ts";
import { openRepository, Repository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import { BLOCK_BYTES, content, newRepository, restore, takeBackup } from "./backups.ts";
import { MemoryStore } from "./memory_store.ts";

export const BLOCKS = 30;
export const HOUR_MS = 3_600_000;
export const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

/** A store whose clock the test turns. */
export class TimedStore extends MemoryStore {
  nowMs = 1_000_000_000;
  override now = () => this.nowMs;

  keys(prefix: string): string[] {
    return [...this.objects.keys()].filter((key) => key.startsWith(prefix));
  }

  copyOf(): TimedStore {
    const copy = new TimedStore();
    for (const [key, body] of this.objects) copy.objects.set(key, body);
    for (const [key, time] of this.storedAtMs) copy.storedAtMs.set(key, time);
    copy.nowMs = this.nowMs;
    return copy;
  }
}

export async function chain(count: number) {
  const store = new TimedStore();
  const repository = await newRepository(store);
  const disk = content(BLOCKS, 1);
  const images = new Map<string, Uint8Array>();
  let parent = await takeBackup(repository, { blockCount: BLOCKS }, [
    { firstBlock: 0, blockCount: BLOCKS, bytes: disk },
  ]);
  images.set(idOf(parent), disk.slice());
  for (let number = 1; number < count; number++) {
    const bytes = content(2, 50 + number);
    // Every other one overwrites the one before.
    const firstBlock = 3 * Math.floor(number / 2);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    store.nowMs += HOUR_MS;
    parent = await takeBackup(repository, { blockCount: BLOCKS, parent }, [
      { firstBlock, blockCount: 2, bytes },
    ]);
    images.set(idOf(parent), disk.slice());
  }
  return { store, repository, images, ids: [...images.keys()] };
}

export async function collect(store: Store, options: Partial<GcOptions> = {}) {
  const given = { graceMs: 0, dryRun: false, own: "0".repeat(32), ...options };
  return await collectGarbage(await openRepository(store), given);
}

export async function check(
  store: Store,
  images: ReadonlyMap<string, Uint8Array>,
): Promise<string[]> {
  const repository = await openRepository(store);
  const all = await repository.manifests();
  for (const one of all) {
    const found = await restore(repository, chainOf(all, idOf(one)));
    expect(Buffer.compare(found, images.get(idOf(one))!), idOf(one)).toBe(0);
  }
  return all.map(idOf);
}

/**
 * Restores each backup that is listed.
 *
 * @param of A store, of a repository that is not sealed; or the repository.
 * @returns Ids of those that are right. The others say what is damaged.
 */
export async function rightOnes(
  of: Store | Repository,
  images: ReadonlyMap<string, Uint8Array>,
): Promise<string[]> {
  const ids: string[] = [];
  try {
    const repository = of instanceof Repository ? of : await openRepository(of);
    const all = await repository.manifests(() => undefined);
    for (const one of all) {
      const found = await Promise.resolve()
        .then(() => restore(repository, chainOf(all, idOf(one))))
        .catch(onlyDamage);
      if (found === undefined) continue;
      expect(Buffer.compare(found, images.get(idOf(one))!), idOf(one)).toBe(0);
      ids.push(idOf(one));
    }
  } catch (error) {
    onlyDamage(error);
  }
  return ids;
}

/** Takes damage for an answer. */
export function onlyDamage(error: unknown): undefined {
  if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return undefined;
  throw error;
}
