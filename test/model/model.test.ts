/**
 * Random things happen to a disk and its backups, and a shadow of the disk says what is right.
 *
 * A round is some operations and a flush to its end; the latest backup then equals the shadow at
 * its instant, and every older one what it held. Rounds come in worlds: a new disk, two new
 * repositories. IBACKUP_SEED=N runs the one world of that seed; what happens at random moments
 * (kills, writes during a flush) is as random then as it was.
 */
import { env, stderr } from "node:process";
import { describe, expect, test } from "vitest";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { verify } from "../../src/job/verify.ts";
import { isLong } from "../support/long.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack } from "../support/site.ts";
import { flush } from "./flushes.ts";
import { type Operation, trackAnew } from "./mishaps.ts";
import { expectDigest, OPERATIONS } from "./operations.ts";
import { World } from "./world.ts";

const ROUNDS = Number(env["IBACKUP_ROUNDS"] ?? (isLong ? 1000 : 40));
const ROUNDS_OF_A_WORLD_MAX = 40;
const STORY_LINES = 60;

describe.runIf(canTrack())("whatever happens to a disk", () => {
  test(
    `the latest backup is what it was at its instant, ${ROUNDS} times`,
    async () => {
      const seeds = seededRandom("model");
      const counts = new Map<string, number>();
      let rounds = 0;
      for (let number = 0; rounds < ROUNDS; number++) {
        const seed = number === 0 ? seeds.seed : seeds.below(2 ** 32);
        const random = seededRandom(`model, world ${number + 1}, ${rounds} rounds so far`, seed);
        rounds += await runWorld(random, ROUNDS - rounds, counts);
        if (env["IBACKUP_SEED"] !== undefined) break;
      }
      stderr.write(`model: ${rounds} rounds\n${tableOf(counts)}`);
      expect(rounds).toBeGreaterThan(0);
    },
    4 * 3_600_000,
  );
});

/** @returns The number of rounds. */
async function runWorld(
  random: Random,
  roundsLeft: number,
  counts: Map<string, number>,
): Promise<number> {
  const world = await World.create(random, counts);
  const rounds = Math.min(roundsLeft, 10 + random.below(ROUNDS_OF_A_WORLD_MAX - 10));
  let round = 0;
  try {
    while (round < rounds) {
      round++;
      await runRound(world);
    }
    await expectAllRight(world);
  } catch (error) {
    const story = world.story.slice(-STORY_LINES).join("\n  ");
    throw new Error(`seed ${random.seed}, round ${round}; before it:\n  ${story}`, {
      cause: error,
    });
  } finally {
    world.close();
  }
  return rounds;
}

async function runRound(world: World): Promise<void> {
  const steps = 2 + world.random.below(8);
  // Most of what may go wrong needs a tracker that was right.
  if (world.tracking !== "on" && world.random.below(2) === 0) {
    await tell(world, "track start", () => trackAnew(world));
  }
  for (let i = 0; i < steps; i++) {
    const operation = pick(world.random);
    await tell(world, operation.name, () => operation.run(world));
    world.count(operation.name);
  }
  // Only a flush that writes the page cache out itself has what was written into it right before.
  world.writeUnsynced();
  const number = world.random.below(world.repositories.length);
  const repository = world.repositories[number];
  if (repository === undefined) return;
  await tell(world, "flush that ends the round", async () => {
    const said = await flush(world, repository);
    return `${number}: ${said}`;
  });
  world.disk.check();
}

async function tell(
  world: World,
  name: string,
  work: () => Promise<string> | string,
): Promise<void> {
  const before = world.tracking;
  try {
    world.story.push(`${name}: ${await work()}`);
  } catch (error) {
    world.story.push(`${name}: FAILED, with tracking ${before}`);
    throw error;
  }
}

function pick(random: Random): Operation {
  const total = OPERATIONS.reduce((sum, { weight }) => sum + weight, 0);
  let at = random.below(total);
  for (const operation of OPERATIONS) {
    at -= operation.weight;
    if (at < 0) return operation;
  }
  throw new Error("no operation");
}

async function expectAllRight({ repositories }: World): Promise<void> {
  for (const repository of repositories) {
    for (const backupId of repository.digests.keys()) {
      expectDigest(repository, backupId, await repository.contentOf(backupId));
    }
    const opened = await repository.open();
    const { problems } = await verify({
      repository: opened,
      data: "all",
      progress: SILENT_PROGRESS,
    });
    expect(problems).toEqual([]);
  }
}

function tableOf(counts: ReadonlyMap<string, number>): string {
  const lines = [...counts].sort().map(([name, count]) => `  ${name}: ${count}\n`);
  return lines.join("");
}
