import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { openRepository, Repository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  content,
  newRepository,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { Gate } from "../support/gated_store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { seededRandom as printedRandom } from "../support/random.ts";

const BLOCKS = 40;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

/** A base and incrementals of a disk whose size changes, each with the content that it has to have. */
async function family(
  count: number,
): Promise<{ store: MemoryStore; images: Map<string, Uint8Array> }> {
  const store = new MemoryStore();
  const repository = await newRepository(store);
  const random = seededRandom(7);
  const images = new Map<string, Uint8Array>();
  let disk = content(BLOCKS, 1);
  let parent = await takeBackup(repository, { blockCount: BLOCKS }, [
    { firstBlock: 0, blockCount: BLOCKS, bytes: disk },
  ]);
  images.set(idOf(parent), disk);
  for (let number = 1; number < count; number++) {
    const blockCount = BLOCKS + (number % 3) * 5;
    const next = new Uint8Array(blockCount * BLOCK_BYTES);
    next.set(disk.subarray(0, next.length));
    const firstBlock = random(BLOCKS - 4);
    const bytes = content(3, 100 + number);
    next.set(bytes, firstBlock * BLOCK_BYTES);
    const grown = (next.length - disk.length) / BLOCK_BYTES;
    const tail = { firstBlock: disk.length / BLOCK_BYTES, blockCount: grown };
    const changes = [{ firstBlock, blockCount: 3, bytes }, ...(grown > 0 ? [tail] : [])];
    parent = await takeBackup(repository, { blockCount, parent }, changes);
    disk = next;
    images.set(idOf(parent), disk);
  }
  return { store, images };
}

/** The same objects; from now on each goes its own way. */
function copyOf(store: MemoryStore): MemoryStore {
  const copy = new MemoryStore();
  for (const [key, body] of store.objects) copy.objects.set(key, body);
  return copy;
}

/** Every backup that is listed restores to what it has to be. @returns Their ids. */
async function check(store: Store, images: ReadonlyMap<string, Uint8Array>): Promise<string[]> {
  const repository = await openRepository(store);
  const all = await repository.manifests();
  for (const one of all) {
    const found = await restore(repository, chainOf(all, idOf(one)));
    expect(Buffer.compare(found, images.get(idOf(one))!), idOf(one)).toBe(0);
  }
  return all.map(idOf);
}

async function remove(store: Store, ids: Iterable<string>): Promise<void> {
  await removeBackups(await openRepository(store), new Set(ids));
}

describe("removing any backups of a chain", () => {
  test("leaves the others as they were, base, middle, end and all but one", async () => {
    const { store, images } = await family(7);
    const ids = [...images.keys()];
    for (const which of [[0], [3], [6], [0, 1, 2], [2, 3, 5], [0, 1, 2, 3, 4, 5], [0, 2, 4, 6]]) {
      const one = copyOf(store);
      const going = which.map((at) => ids[at]!);
      await remove(one, going);
      expect(await check(one, images)).toEqual(ids.filter((id) => !going.includes(id)));
    }
  });

  test("one after the other, in any order, gives the same", async () => {
    const { store, images } = await family(7);
    const random = printedRandom("removal order");
    for (let round = 0; round < 10; round++) {
      const one = copyOf(store);
      const left = [...images.keys()];
      while (left.length > 1) {
        const [going = ""] = left.splice(random.below(left.length), 1);
        if (random.below(3) === 0) {
          const id = left[random.below(left.length)]!;
          await rebaseBackup(await openRepository(one), id);
        }
        await remove(one, [going]);
        expect(await check(one, images)).toEqual(left);
      }
    }
  });

  test("killed at any call leaves all that is listed right, and the next one ends it", async () => {
    const { store, images } = await family(6);
    const ids = [...images.keys()];
    const going = [ids[0]!, ids[2]!, ids[3]!];
    for (const fault of ["fail", "fail after"] as const) {
      for (let nth = 1; ; nth++) {
        const one = copyOf(store);
        const repository = await openRepository(one);
        const faulty = new FaultStore(one, { nth, fault, onwards: true });
        const dying = new Repository(faulty, repository.id);
        const outcome = removeBackups(dying, new Set(going));
        if (!(await outcome.then(() => true).catch(() => false))) {
          const left = await check(one, images);
          expect(ids.filter((id) => !left.includes(id)).every((id) => going.includes(id))).toBe(
            true,
          );
          // Another one, who wants something else removed.
          await remove(one, [ids[1]!]);
          await check(one, images);
          const rest = await (await openRepository(one)).manifests();
          expect(rest.some(({ map }) => map?.removing)).toBe(false);
          await remove(one, going);
          expect(await check(one, images)).toEqual([ids[4], ids[5]]);
        }
        if (!faulty.fired) break;
      }
    }
  });

  test("by two at once loses nothing, however their calls follow one another", async () => {
    const { store, images } = await family(6);
    const ids = [...images.keys()];
    const random = printedRandom("two removals");
    for (let round = 0; round < 150; round++) {
      const one = copyOf(store);
      const pick = () => ids.slice(0, 5).filter(() => random.below(2) === 0);
      const wishes = [pick(), pick()];
      const gate = new Gate();
      for (const wish of wishes) gate.open(one, (gated) => remove(gated, wish));
      const rebased = ids[random.below(ids.length)]!;
      gate.open(one, async (gated) => {
        // It may be gone by then.
        await rebaseBackup(await openRepository(gated), rebased).catch((error: unknown) => {
          expect(error).toMatchObject({ code: "BACKUP_UNKNOWN" });
        });
      });
      await gate.run((waiting) => random.below(waiting));
      const left = await check(one, images);
      expect(left).toEqual(ids.filter((id) => !wishes.flat().includes(id)));
    }
  });

  test("carries a child along that was committed on one that goes", async () => {
    const { store, images } = await family(3);
    const ids = [...images.keys()];
    const repository = await openRepository(store);
    const parent = (await repository.manifests()).at(-1)!;
    const image = images.get(idOf(parent))!;
    // The flush saw its parent a moment before the removal took it away.
    store.erase = async (keys) => {
      store.erase = MemoryStore.prototype.erase;
      const late = await takeBackup(
        repository,
        { blockCount: image.length / BLOCK_BYTES, parent },
        [],
      );
      images.set(idOf(late), image);
      await store.erase(keys);
    };
    await remove(store, [ids[2]!]);
    expect(await check(store, images)).toHaveLength(3);
  });

  test("is refused while another backup of the disk cannot be read", async () => {
    const { store, images } = await family(4);
    const ids = [...images.keys()];
    const [, , third] = await (await openRepository(store)).manifests();
    store.objects.set(third!.key, new Uint8Array(10));
    await expect(remove(store, [ids[0]!])).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    expect([...store.objects.keys()].filter((key) => key.startsWith("maps/"))).toEqual([]);
  });

  test("leaves what the store does not let go, with what it builds on", async () => {
    const { store, images } = await family(5);
    const ids = [...images.keys()];
    const all = await (await openRepository(store)).manifests();
    const locked = all[2]!;
    const until = new Date("2030-01-01");
    store.erase = async (keys, options) => {
      for await (const key of keys) {
        if (key !== locked.key) await store.delete(key);
        else options?.onLocked?.({ key, until, error: new Error("locked") as never });
      }
    };
    const wanted = new Set(ids.slice(0, 4));
    const removal = await removeBackups(await openRepository(store), wanted);
    expect(removal.removed.map(idOf)).toEqual([ids[3]]);
    expect(removal.locked.map(({ stored }) => idOf(stored))).toEqual([ids[2], ids[1], ids[0]]);
    expect(await check(store, images)).toEqual([ids[0], ids[1], ids[2], ids[4]]);
    store.erase = MemoryStore.prototype.erase;
    await remove(store, []);
    expect(await check(store, images)).toEqual([ids[4]]);
  });
});

describe("rebasing", () => {
  test("makes an incremental a base that needs none of its parents", async () => {
    const { store, images } = await family(5);
    const ids = [...images.keys()];
    const repository = await openRepository(store);
    expect(await rebaseBackup(repository, ids[3]!)).toBe(true);
    expect(await rebaseBackup(repository, ids[3]!)).toBe(false);
    const all = await repository.manifests();
    expect(all[3]?.manifest).toMatchObject({ type: "base", parentId: null });
    expect(chainOf(all, ids[4]!)).toHaveLength(2);
    for (const { key } of all.slice(0, 3)) await store.delete(key);
    expect(await check(store, images)).toEqual([ids[3], ids[4]]);
  });
});
