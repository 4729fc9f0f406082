/** Copies into a repository of its own, with another id and other keys. */
import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { assert } from "../../src/errors.ts";
import { copyBackups } from "../../src/repo/copy.ts";
import type { CopiedBackup } from "../../src/repo/copy_way.ts";
import { changeNote, readNotes } from "../../src/repo/notes.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import {
  createRepository,
  openRepository,
  Repository,
  type RepositoryKeys,
} from "../../src/repo/repository.ts";
import type { Store } from "../../src/store/store.ts";
import { content, takeBackup } from "../support/backups.ts";
import { playEveryFault } from "../support/every_fault.ts";
import { FALSE_FAULTS, HONEST_FAULTS } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { BLOCKS, chain, check, idOf, rightOnes } from "../support/timed_store.ts";

async function anotherRepository(): Promise<MemoryStore> {
  const store = new MemoryStore();
  await createRepository(store, { id: randomUUID(), createdAt: new Date(0) });
  return store;
}

async function copy(source: Store, target: Store, ids?: readonly string[]) {
  const from = await openRepository(source);
  const all = await from.manifests();
  const wanted = ids ? all.filter((one) => ids.includes(idOf(one))) : all;
  const copied: CopiedBackup[] = [];
  const onCopied = (one: CopiedBackup) => void copied.push(one);
  await copyBackups({ from, to: await openRepository(target) }, wanted, { onCopied });
  return copied;
}

test("all are there, as they were, and the second time nothing goes over", async () => {
  const { store, images, ids } = await chain(5);
  const target = await anotherRepository();
  expect(await copy(store, target)).toHaveLength(5);
  expect(await check(target, images)).toEqual(ids);
  const packs = [...target.objects.keys()].filter((key) => key.startsWith("packs/"));
  expect(packs.filter((key) => store.objects.has(key))).toEqual([]);
  const again = await copy(store, target);
  expect(again.every(({ isNew, bytesCopied }) => !isNew && bytesCopied === 0)).toBe(true);
});

test("some take over what their parents held, however both were pruned and rebased", async () => {
  const { store, repository, images, ids } = await chain(8);
  await changeNote(store, (await repository.manifests())[2]!, () => ({
    tags: ["a"],
    isProtected: true,
  }));
  const target = await anotherRepository();
  await copy(store, target, [ids[2]!, ids[5]!]);
  expect(await check(target, images)).toEqual([ids[2], ids[5]]);
  const to = await openRepository(target);
  const [first, second] = await to.manifests();
  expect(first?.manifest).toMatchObject({ type: "base", gapCheck: "base" });
  expect(second?.manifest).toMatchObject({ type: "incremental", parentId: ids[2] });
  const notes = await readNotes(target, [first!, second!], () => undefined);
  expect([...notes.values()]).toMatchObject([{ tags: ["a"], isProtected: true }]);
  await removeBackups(repository, new Set([ids[4]!, ids[6]!]));
  await rebaseBackup(repository, ids[5]!);
  await removeBackups(to, new Set([ids[5]!]));
  // One that was removed there comes again: the map that it has left there says nothing of it.
  await copy(store, target, [ids[3]!, ids[5]!, ids[7]!]);
  expect(await check(target, images)).toEqual([ids[2], ids[3], ids[5], ids[7]]);
});

test("a backup whose place another one has is refused", async () => {
  const { store } = await chain(2);
  const target = await anotherRepository();
  const whole = { firstBlock: 0, blockCount: BLOCKS, bytes: content(BLOCKS, 5) };
  const there = await openRepository(target);
  const base = await takeBackup(there, { blockCount: BLOCKS }, [whole]);
  const other = { ...base.manifest, backupId: "20200101T000000Z-00000000" };
  target.objects.clear();
  await createRepository(target, { id: there.id, createdAt: new Date(0) });
  await there.commit({ ...other, indexes: [] });
  await expect(copy(store, target)).rejects.toMatchObject({ code: "REPOSITORY_EXISTS" });
});

/** Keys that are not secret; each wraps only for itself. */
function plainKeys(name: string): RepositoryKeys {
  const mark = new TextEncoder().encode(name);
  return {
    hasIdentity: true,
    wrap: async (dataKey) => new Uint8Array([...mark, ...dataKey]),
    unwrap: async (wrapped) => {
      assert(wrapped.slice(0, mark.length).join() === mark.join(), "it is wrapped for another one");
      return wrapped.slice(mark.length);
    },
  };
}

test("what is sealed is opened, and sealed to the other keys; what is in clear is sealed", async () => {
  const { store, images, ids } = await chain(3);
  const [one, two] = [await anotherRepository(), await anotherRepository()];
  const clear = await openRepository(store);
  const open = async (of: Store, name: string) =>
    new Repository(of, (await openRepository(of)).id, plainKeys(name));
  const [first, second] = [await open(one, "first"), await open(two, "second")];
  await copyBackups({ from: clear, to: first }, await clear.manifests());
  await copyBackups({ from: first, to: second }, await first.manifests());
  for (const repository of [first, second]) expect(repository.isSealed).toBe(true);
  for (const { manifest } of await second.manifests()) expect(manifest.seal).not.toBeNull();
  expect(await rightOnes(second, images)).toEqual(ids);
  const details = await second.detailsOf((await second.manifests())[1]!);
  const before = await clear.detailsOf((await clear.manifests())[1]!);
  expect(details).toEqual(before);
});

test.each([
  ["honest", HONEST_FAULTS],
  ["false", FALSE_FAULTS],
] as const)(
  "with %s faults, whichever call goes wrong, what is there is right",
  async (which, faults) => {
    const { store, images, ids } = await chain(3);
    const isHonest = which === "honest";
    const calls = await playEveryFault({
      before: await anotherRepository(),
      faults,
      act: (faulty) => copy(store, faulty),
      check: async ({ store: there, settle, failure }) => {
        const listed = await rightOnes(there, images);
        if (isHonest) expect(listed).toEqual(ids.slice(0, listed.length));
        if (isHonest && failure === undefined) expect(listed).toEqual(ids);
        await settle();
        await copy(store, there).catch((error) => {
          if (isHonest || error.code !== "CORRUPT_DATA") throw error;
        });
        const after = await rightOnes(there, images);
        if (isHonest) expect(after).toEqual(ids);
      },
    });
    expect(calls).toBeGreaterThan(10);
  },
);
