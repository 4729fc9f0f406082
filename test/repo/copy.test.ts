import { Buffer } from "node:buffer";
import { describe, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { copyBackups } from "../../src/repo/copy.ts";
import type { CopiedBackup } from "../../src/repo/copy_way.ts";
import { collectGarbage } from "../../src/repo/garbage.ts";
import { changeNote, readNotes } from "../../src/repo/notes.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { cloneRepository, openRepository } from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import { BLOCK_BYTES, content, newRepository, restore, takeBackup } from "../support/backups.ts";
import { FaultStore } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 30;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

async function chain(count: number) {
  const store = new MemoryStore();
  const repository = await newRepository(store);
  const disk = content(BLOCKS, 1);
  const images = new Map<string, Uint8Array>();
  let parent: StoredManifest | undefined;
  for (let number = 0; number < count; number++) {
    const firstBlock = parent ? 2 * number : 0;
    const blockCount = parent ? 3 : BLOCKS;
    const bytes = content(blockCount, 10 + number);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    const changes = [{ firstBlock, blockCount, bytes }];
    parent = await takeBackup(repository, { blockCount: BLOCKS, parent }, changes);
    images.set(idOf(parent), disk.slice());
  }
  return { store, repository, images, ids: [...images.keys()] };
}

async function copy(source: Store, target: Store, ids?: readonly string[]) {
  const from = await openRepository(source);
  await cloneRepository(from, target);
  const all = await from.manifests();
  const wanted = ids ? all.filter((one) => ids.includes(idOf(one))) : all;
  const copied: CopiedBackup[] = [];
  const onCopied = (one: CopiedBackup) => void copied.push(one);
  await copyBackups({ from, to: await openRepository(target) }, wanted, { onCopied });
  return copied;
}

async function check(store: Store, images: ReadonlyMap<string, Uint8Array>): Promise<string[]> {
  const repository = await openRepository(store);
  const all = await repository.manifests();
  for (const one of all) {
    const found = await restore(repository, chainOf(all, idOf(one)));
    expect(Buffer.compare(found, images.get(idOf(one))!), idOf(one)).toBe(0);
  }
  return all.map(idOf);
}

describe("a copy", () => {
  test("of everything is the same, byte for byte, and the second time nothing goes over", async () => {
    const { store, images, ids } = await chain(4);
    const target = new MemoryStore();
    expect((await copy(store, target)).every(({ isNew }) => isNew)).toBe(true);
    expect(new Map([...target.objects].sort())).toEqual(new Map([...store.objects].sort()));
    expect(await check(target, images)).toEqual(ids);
    const again = await copy(store, target);
    expect(again.every(({ isNew, bytesCopied }) => !isNew && bytesCopied === 0)).toBe(true);
  });

  test("of some takes over what their parents held", async () => {
    const { store, images, ids } = await chain(6);
    const target = new MemoryStore();
    await copy(store, target, [ids[2]!, ids[5]!]);
    expect(await check(target, images)).toEqual([ids[2], ids[5]]);
    // What comes later goes on with what is there.
    await copy(store, target, [ids[3]!, ids[4]!]);
    expect(await check(target, images)).toEqual(ids.slice(2));
    const [first, second] = await (await openRepository(target)).manifests();
    expect(first?.manifest.type).toBe("base");
    expect(second?.manifest.parentId).toBe(ids[2]);
  });

  test("goes on after either of the two was pruned, rebased and collected", async () => {
    const { store, repository, images, ids } = await chain(6);
    const target = new MemoryStore();
    await copy(store, target, ids.slice(0, 3));
    await removeBackups(await openRepository(target), new Set([ids[1]!, ids[2]!]));
    await removeBackups(repository, new Set([ids[0]!, ids[3]!]));
    await rebaseBackup(repository, ids[4]!);
    for (const one of [store, target]) {
      one.now = () => Date.now() + 3_600_000;
      const options = { graceMs: 0, dryRun: false, own: "0".repeat(32) };
      await collectGarbage(await openRepository(one), options);
    }
    await copy(store, target, [ids[4]!, ids[5]!]);
    expect(await check(target, images)).toEqual([ids[0], ids[4], ids[5]]);
  });

  test("of what was removed there is there again, and a map that was left behind does not count", async () => {
    const { store, images, ids } = await chain(4);
    const target = new MemoryStore();
    await copy(store, target);
    await removeBackups(await openRepository(target), new Set([ids[1]!, ids[2]!, ids[3]!]));
    await copy(store, target, [ids[2]!]);
    await removeBackups(await openRepository(target), new Set([ids[0]!]));
    await copy(store, target, [ids[1]!, ids[3]!]);
    expect(await check(target, images)).toEqual(ids.slice(1));
  });

  test("takes tags and protection along, and removes none that are there", async () => {
    const { store, repository, ids } = await chain(2);
    const [base] = await repository.manifests();
    await changeNote(store, base!, () => ({ tags: ["a"], isProtected: true }));
    const target = new MemoryStore();
    await copy(store, target);
    const there = (await (await openRepository(target)).manifests())[0]!;
    await changeNote(target, there, ({ tags }) => ({ tags: [...tags, "b"], isProtected: false }));
    await copy(store, target);
    const notes = await readNotes(target, [there], () => undefined);
    expect(notes.get(there.key)).toEqual({ tags: ["a", "b"], isProtected: true, blocksLost: 0 });
    expect(ids).toHaveLength(2);
  });

  test("is refused for what is damaged where it comes from", async () => {
    for (const prefix of ["packs/", "indexes/"]) {
      const { store, images, ids } = await chain(3);
      const keys = [...store.objects.keys()].filter((key) => key.startsWith(prefix));
      const bytes = store.objects.get(keys[1]!)!;
      bytes[40]! ^= 1;
      const target = new MemoryStore();
      await expect(copy(store, target)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
      expect(await check(target, images)).toEqual(ids.slice(0, 1));
    }
  });

  test("killed at any call leaves only whole backups, and goes on from there", async () => {
    const { store, images, ids } = await chain(4);
    await removeBackups(await openRepository(store), new Set([ids[1]!]));
    const left = ids.filter((id) => id !== ids[1]);
    for (const fault of ["fail", "fail after"] as const) {
      for (let nth = 1; ; nth++) {
        const target = new MemoryStore();
        const faulty = new FaultStore(target, { nth, fault, onwards: true });
        const ended = await copy(store, faulty).then(
          () => true,
          () => false,
        );
        if (target.objects.has("repository")) {
          const there = await check(target, images);
          expect(there).toEqual(left.slice(0, there.length));
        }
        await copy(store, target);
        expect(await check(target, images)).toEqual(left);
        if (ended && !faulty.fired) break;
      }
    }
  });
});
