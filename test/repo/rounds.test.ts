/**
 * Random rounds against a model: backups are taken, removed, rebased, tagged, collected, rewritten,
 * copied and restored, keys are changed, and one in three is killed at some call of the store. IBACKUP_LONG=1 plays ten
 * thousand rounds, IBACKUP_ROUNDS another number, IBACKUP_SEED plays one seed again.
 */
import { env, stderr } from "node:process";
import { afterAll, expect, test } from "vitest";
import { isLong } from "../support/long.ts";
import { World } from "./rounds.ts";

const ROUNDS = Number(env["IBACKUP_ROUNDS"] ?? (isLong ? 10_000 : 300));
const BACKUPS_MAX = 30;
const HOUR_MS = 3_600_000;

const ACTIONS = [
  "flush",
  "flush",
  "flush",
  "prune",
  "rebase",
  "remark",
  "changeKeys",
  "gc",
  "copy",
  "restoreOne",
] as const;

const worlds: World[] = [];
afterAll(() => {
  for (const { keys } of worlds) keys.close();
});

test.each([
  ["in clear", false],
  ["sealed", true],
])(
  `${ROUNDS} random rounds, %s, of which one in three is killed`,
  {
    timeout: 3_600_000,
  },
  async (_, isSealed) => {
    const world = new World(isSealed);
    worlds.push(world);
    await world.begin();
    for (let round = 1; round <= ROUNDS; round++) {
      world.nowMs += world.below(3) === 0 ? world.below(5 * HOUR_MS) : world.below(60_000);
      const isFull = world.images.size >= BACKUPS_MAX;
      const action = isFull ? "prune" : world.pick(ACTIONS)!;
      const { store, mayDie } = world.hand();
      let died = false;
      try {
        await world[action](store);
      } catch (error) {
        if (!mayDie || (error as { code?: string }).code !== "STORE_UNREACHABLE") throw error;
        died = true;
      }
      const key = died ? `${action} killed` : action;
      world.counts[key] = (world.counts[key] ?? 0) + 1;
      await world.settle(action, died);
      if (action !== "restoreOne") await world.restoreOne(world.store);
      if (round % 50 === 0) await world.checkAll();
      if (round % 100 === 0) await world.checkNoGarbage();
    }
    stderr.write(`rounds: ${JSON.stringify(world.counts)}\n`);
    for (const action of ACTIONS) {
      expect(world.counts[action], action).toBeGreaterThan(ROUNDS / 100);
    }
  },
);
