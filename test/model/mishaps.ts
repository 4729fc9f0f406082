/** What happens to the tracking, and around it. */
import {
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { IbackupError } from "../../src/errors.ts";
import { startTracking, stopTracking, trackingStatus } from "../../src/job/track.ts";
import { filesBelow } from "../support/site.ts";
import { RAISED_TAINTS, raiseTaint } from "../support/taint.ts";
import { SECTOR_BYTES } from "./disk.ts";
import { DISK_BYTES_MAX, type World } from "./world.ts";

export interface Operation {
  name: string;
  /** How often, compared with the others. */
  weight: number;
  /** @returns What there is to say of it. */
  run(world: World): Promise<string> | string;
}

const TRACKING: Operation[] = [
  {
    name: "track start",
    weight: 12,
    run: trackAnew,
  },
  {
    name: "track stop",
    weight: 2,
    run: async (world) => {
      const all = world.tracking !== "on" || world.random.below(2) === 0;
      await stopTracking(world.bareContext, all ? [] : [world.disk.device]);
      world.tracking = "off";
      world.doubt("tracking was stopped");
      return all ? "all" : "the disk";
    },
  },
  {
    name: "pins deleted",
    weight: 2,
    run: (world) => {
      const { pinFolder } = world.site;
      if (!existsSync(pinFolder)) return "there are none";
      const all = readdirSync(pinFolder).sort();
      const some = all.filter(() => world.random.below(3) === 0);
      const isWhole = world.random.below(2) === 0;
      if (isWhole) rmSync(pinFolder, { recursive: true });
      else for (const name of some) unlinkSync(join(pinFolder, name));
      world.tracking = isWhole ? "off" : "unsure";
      world.doubt("pins were deleted");
      return isWhole ? "all" : some.join(", ");
    },
  },
  {
    name: "taint",
    weight: 2,
    run: async (world) => {
      if (world.tracking !== "on") return "nothing to taint";
      const { devices } = await trackingStatus(world.bareContext, [world.disk.device]);
      const taint = RAISED_TAINTS[world.random.below(RAISED_TAINTS.length)] ?? RAISED_TAINTS[0];
      const slot = devices[0]?.slot;
      if (slot === undefined || taint === undefined) throw new Error("tracked, but not to be seen");
      raiseTaint(world.site.pinFolder, slot, taint);
      world.distrust(`the taint "${taint}"`);
      return taint;
    },
  },
];

/** The digests of a backup are a cache: whatever happens to it, comparing finds what differs. */
const CACHE: Operation[] = [
  {
    name: "cache removed",
    weight: 1,
    run: ({ site: { machine } }) => {
      rmSync(machine.cacheFolder, { recursive: true, force: true });
      return "";
    },
  },
  {
    name: "cache damaged",
    weight: 2,
    run: ({ site: { machine }, random }) => {
      const files = existsSync(machine.cacheFolder) ? filesBelow(machine.cacheFolder) : [];
      const name = files[random.below(files.length)];
      if (name === undefined) return "there is none";
      const path = join(machine.cacheFolder, name);
      const bytes = readFileSync(path);
      const start = random.below(bytes.length);
      bytes.set(random.bytes(1 + random.below(64)).subarray(0, bytes.length - start), start);
      writeFileSync(path, bytes);
      return `${name} at ${start}`;
    },
  },
  {
    name: "cache put back",
    weight: 2,
    run: ({ site: { machine } }) => {
      const [now, old] = [machine.cacheFolder, `${machine.cacheFolder}-old`];
      const hasOld = existsSync(old);
      if (hasOld) {
        rmSync(now, { recursive: true, force: true });
        cpSync(old, now, { recursive: true, preserveTimestamps: true });
        rmSync(old, { recursive: true });
        return "as it was";
      }
      if (existsSync(now)) cpSync(now, old, { recursive: true, preserveTimestamps: true });
      return "kept for later";
    },
  },
];

const CLOCK: Operation = {
  name: "clock jump",
  weight: 2,
  run: (world) => {
    const days = world.random.below(3) === 0 ? 0 : world.random.below(800) - 400;
    world.clockOffsetMs = days * 86_400_000 + world.random.below(10_000);
    return `to ${days} days from now`;
  },
};

export const MISHAPS: readonly Operation[] = [
  CLOCK,
  ...TRACKING,
  ...CACHE,
  {
    name: "detach and attach",
    weight: 2,
    run: (world) => {
      const { disk, random, tracking } = world;
      const before = disk.device;
      const count = random.below(2) * (1 + random.below(3));
      disk.sync();
      disk.reattach(Array.from({ length: count }, () => world.randomChange(random, 1)));
      if (disk.device !== before && tracking !== "off") world.tracking = "unsure";
      if (disk.device !== before) world.changeLock();
      world.doubt("the disk was taken away");
      if (count > 0) world.distrust("changed behind the device's back");
      if (count > 0) for (const { doubt } of world.repositories) doubt.written = true;
      return `${before} is now ${disk.device}, ${count} changes behind its back`;
    },
  },
  {
    name: "grow",
    weight: 1,
    run: (world) => {
      const { disk, random } = world;
      const sectors = (DISK_BYTES_MAX - disk.sizeBytes) / SECTOR_BYTES;
      if (sectors < 2) return "it is as large as it gets";
      disk.grow(disk.sizeBytes + SECTOR_BYTES * (1 + random.below(Math.min(sectors, 2048))));
      world.tracking = "unsure";
      world.distrust("the disk has grown");
      return `to ${disk.sizeBytes}`;
    },
  },
  {
    name: "pending sets removed",
    weight: 1,
    run: (world) => {
      const folder = join(world.site.machine.runtimeFolder, "pending");
      rmSync(folder, { recursive: true, force: true });
      world.forget("the pending sets were removed");
      return "";
    },
  },
  {
    name: "pending state damaged",
    weight: 1,
    run: (world) => {
      const folder = join(world.site.machine.runtimeFolder, "pending");
      if (!existsSync(folder)) return "there is none";
      const names = readdirSync(folder, { recursive: true }) as string[];
      for (const name of names.filter((name) => name.endsWith("state.json"))) {
        const path = join(folder, name);
        truncateSync(path, world.random.below(readFileSync(path).length));
      }
      world.forget("the state of the pending sets was damaged");
      return "";
    },
  },
  {
    name: "runtime folder emptied",
    weight: 1,
    run: (world) => {
      const { runtimeFolder } = world.site.machine;
      for (const name of readdirSync(runtimeFolder)) {
        rmSync(join(runtimeFolder, name), { recursive: true });
      }
      world.forget("the runtime folder was emptied");
      world.changeLock();
      world.tracking = world.tracking === "on" ? "off" : world.tracking;
      return "";
    },
  },
];

/** What the user does; where the hooks are broken, after stopping them all. */
export async function trackAnew(world: World): Promise<string> {
  const { tracking, bareContext, disk, hooks } = world;
  try {
    await startTracking(bareContext, [disk.device], hooks);
  } catch (error) {
    if (tracking !== "unsure" || (error as IbackupError).code !== "TRACKER") throw error;
    await stopTracking(bareContext, []);
    await startTracking(bareContext, [disk.device], hooks);
  }
  world.tracking = "on";
  if (tracking !== "on") world.doubt("tracking was started");
  return `it was ${tracking}`;
}
