/** What may happen to a disk and its backups, and how the model takes it. */
import { readFileSync } from "node:fs";
import { restoreBackup } from "../../src/job/restore.ts";
import { SECTOR_BYTES } from "./disk.ts";
import { type FlushPlan, flush, flushBoth, killedFlush } from "./flushes.ts";
import { MISHAPS, type Operation } from "./mishaps.ts";
import { digestOfBytes, type ModelRepository } from "./repository.ts";
import { DISK_NAME, VM_ID, type World } from "./world.ts";

const WRITES: Operation[] = [
  {
    name: "direct writes",
    weight: 30,
    run: (world) => {
      const count = 1 + world.random.below(4);
      for (let i = 0; i < count; i++) {
        world.disk.writeDirect(world.randomChange(world.random, SECTOR_BYTES));
        world.noteWrite();
      }
      return `${count}`;
    },
  },
  {
    name: "buffered writes",
    weight: 20,
    run: (world) => {
      const count = 1 + world.random.below(6);
      for (let i = 0; i < count; i++) world.writeUnsynced();
      if (world.random.below(2) === 0) return `${count}`;
      world.disk.sync();
      world.noteWrite();
      return `${count}, synced`;
    },
  },
  {
    name: "mapped write",
    weight: 3,
    run: (world) => {
      world.disk.writeMapped(world.randomChange(world.random, 1));
      world.noteWrite();
      return "";
    },
  },
  ...(["discard", "write zeroes"] as const).map(
    (how): Operation => ({
      name: how,
      weight: 5,
      run: (world) => {
        const { offset, bytes } = world.randomChange(world.random, SECTOR_BYTES);
        world.disk.clear(how, offset, bytes.length);
        world.noteWrite();
        return `${bytes.length} bytes at ${offset}`;
      },
    }),
  ),
];

function flushOperation(
  name: string,
  weight: number,
  plan: (world: World) => FlushPlan,
): Operation {
  return {
    name,
    weight,
    run: async (world) => {
      const { repository, number } = anyRepository(world);
      return `${number}: ${await flush(world, repository, plan(world))}`;
    },
  };
}

const FLUSHES: Operation[] = [
  flushOperation("flush", 10, () => ({})),
  flushOperation("flush under writes", 8, () => ({ writing: true })),
  flushOperation("flush --consistency quiet", 2, ({ random }) => ({
    consistency: "quiet",
    writing: random.below(2) === 0,
  })),
  flushOperation("flush --scan", 1, ({ random }) => ({
    scan: true,
    writing: random.below(2) === 0,
  })),
  flushOperation("flush --base", 1, () => ({ base: true })),
  flushOperation("flush with a failing store", 8, ({ random }) => ({
    writing: random.below(3) === 0,
    fault: {
      fault: random.below(2) === 0 ? "fail" : "fail after",
      onwards: random.below(2) === 0,
      ...([
        { nth: 1 + random.below(30) },
        { nth: 1 + random.below(4), calls: ["put", "putIfAbsent"] as const },
        // The manifest is among them: from it on there is a backup.
        { nth: 1 + random.below(3), calls: ["putIfAbsent"] as const },
      ][random.below(3)] ?? { nth: 1 }),
    },
  })),
  flushOperation("flush with a killed helper", 5, ({ random }) => ({
    writing: random.below(3) === 0,
    killHelper: true,
  })),
  {
    name: "killed flush",
    weight: 5,
    run: async (world) => {
      const { repository, number } = anyRepository(world);
      const writing = world.random.below(2) === 0;
      return `${number}: ${await killedFlush(world, repository, writing)}`;
    },
  },
  { name: "flush of both at once", weight: 2, run: flushBoth },
];

const RESTORES: Operation[] = [
  {
    name: "restore of the latest",
    weight: 4,
    run: async (world) => {
      const { repository, number } = anyRepository(world);
      const latest = [...repository.digests.keys()].at(-1);
      if (latest === undefined) return "there is none";
      const target = world.site.machine.path("restored.img");
      const how = ["changedOnly", "replay", "verify", "plain"][world.random.below(4)] ?? "plain";
      const { backupId } = await restoreBackup(
        world.context(() => repository.open()),
        {
          ...{ changedOnly: false, replay: false, verify: false, partial: false, dryRun: false },
          [how]: true,
          backup: { choice: "latest", scope: { vmId: VM_ID, diskName: DISK_NAME }, vmId: VM_ID },
          target,
          force: true,
        },
      );
      if (backupId !== latest) throw new Error(`${backupId} is the latest, not ${latest}`);
      expectDigest(repository, backupId, readFileSync(target));
      return `${number}: ${how} ${backupId}`;
    },
  },
  {
    name: "restore of an older backup",
    weight: 2,
    run: async (world) => {
      const { repository, number } = anyRepository(world);
      const all = [...repository.digests.keys()];
      const backupId = all[world.random.below(all.length)];
      if (backupId === undefined) return "there is none";
      expectDigest(repository, backupId, await repository.contentOf(backupId));
      return `${number}: ${backupId}, ${all.length - all.indexOf(backupId) - 1} before the latest`;
    },
  },
];

export const OPERATIONS: readonly Operation[] = [...WRITES, ...FLUSHES, ...MISHAPS, ...RESTORES];

export function expectDigest(
  repository: ModelRepository,
  backupId: string,
  bytes: Uint8Array,
): void {
  if (digestOfBytes(bytes) === repository.digests.get(backupId)) return;
  throw new Error(`${backupId} does not hold any more what it held`);
}

function anyRepository({ repositories, random }: World): {
  repository: ModelRepository;
  number: number;
} {
  const number = random.below(repositories.length);
  const repository = repositories[number];
  if (repository === undefined) throw new Error("a world without repositories");
  return { repository, number };
}
