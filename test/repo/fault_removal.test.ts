/** Whichever call of a prune, a gc or a copy goes wrong: what is listed is right, or named as damaged. */
import { describe, expect, test } from "vitest";
import { assert } from "../../src/errors.ts";
import { copyBackups } from "../../src/repo/copy.ts";
import { removeBackups } from "../../src/repo/removal.ts";
import { cloneRepository, openRepository } from "../../src/repo/repository.ts";
import { rewriteBackup } from "../../src/repo/rewrite.ts";
import type { Store } from "../../src/store/store.ts";
import { playEveryFault } from "../support/every_fault.ts";
import { FALSE_FAULTS, HONEST_FAULTS } from "../support/fault_store.ts";
import { MemoryStore } from "../support/memory_store.ts";
import { chain, collect, HOUR_MS, onlyDamage, rightOnes } from "../support/timed_store.ts";

const FAULTS = { honest: HONEST_FAULTS, false: FALSE_FAULTS };

async function remove(store: Store, ids: readonly string[]): Promise<void> {
  await removeBackups(await openRepository(store), new Set(ids));
}

/** With the rewriting of packs. */
async function clean(store: Store): Promise<void> {
  await collect(store);
  const repository = await openRepository(store);
  for (const one of await repository.manifests()) await rewriteBackup(repository, one);
}

async function copy(source: Store, target: Store): Promise<void> {
  const from = await openRepository(source);
  await cloneRepository(from, target);
  await copyBackups({ from, to: await openRepository(target) }, await from.manifests());
}

describe.each(["honest", "false"] as const)("with a store whose faults are %s", (which) => {
  const isHonest = which === "honest";
  const faults = FAULTS[which];

  test("a prune", async () => {
    const { store, images, ids } = await chain(5);
    const going = [ids[0]!, ids[2]!, ids[3]!];
    const left = [ids[1]!, ids[4]!];
    const calls = await playEveryFault({
      before: store,
      faults,
      act: (faulty) => remove(faulty, going),
      check: async ({ store: after, settle, failure }) => {
        const listed = await rightOnes(after, images);
        if (isHonest) expect(listed).toEqual(expect.arrayContaining(left));
        if (isHonest && failure === undefined) expect(listed).toEqual(left);
        await settle();
        // The next one ends it. Where a store has lied, it may find damage, and says so.
        await remove(after, going).catch(isHonest ? undefined : onlyDamage);
        const after2 = await rightOnes(after, images);
        if (isHonest) expect(after2).toEqual(left);
      },
    });
    expect(calls).toBeGreaterThan(10);
  });

  test("a gc", async () => {
    const { store, images, ids } = await chain(5);
    await remove(store, [ids[0]!, ids[1]!, ids[4]!]);
    const left = ids.slice(2, 4);
    store.nowMs += HOUR_MS;
    const calls = await playEveryFault({
      before: store,
      faults,
      act: clean,
      check: async ({ store: after, settle }) => {
        const listed = await rightOnes(after, images);
        if (isHonest) expect(listed).toEqual(left);
        await settle();
        after.now = () => store.nowMs + HOUR_MS;
        await clean(after).catch(isHonest ? undefined : onlyDamage);
        if (isHonest) expect(await rightOnes(after, images)).toEqual(left);
        else await rightOnes(after, images);
      },
    });
    expect(calls).toBeGreaterThan(10);
  });

  test("a copy", async () => {
    const { store, images, ids } = await chain(4);
    await remove(store, [ids[1]!]);
    const left = ids.filter((id) => id !== ids[1]);
    const sides = [
      { before: new MemoryStore(), act: (faulty: Store) => copy(store, faulty) },
      { before: store, act: (faulty: Store) => copy(faulty, target) },
    ];
    let target = new MemoryStore();
    for (const [side, { before, act }] of sides.entries()) {
      const calls = await playEveryFault({
        before,
        faults,
        act: (faulty) => {
          target = new MemoryStore();
          return act(faulty);
        },
        check: async ({ store: changed, settle, failure }) => {
          const there = side === 0 ? changed : target;
          const isThere = there.objects.has("repository");
          const listed = isThere ? await rightOnes(there, images) : [];
          if (isHonest) expect(listed).toEqual(left.slice(0, listed.length));
          if (isHonest && failure === undefined) expect(listed).toEqual(left);
          await settle();
          await copy(store, there).catch(isHonest ? undefined : onlyDamage);
          const after = await rightOnes(there, images);
          if (isHonest) expect(after).toEqual(left);
          expect(await rightOnes(store, images)).toEqual(left);
        },
      });
      assert(calls > 10, "there is something that can go wrong");
    }
  });
});
