/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Machine, run } from "../../test/support/machine.ts";
import { ibackupJson } from "../../test/support/program.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { type RandomWrites, startRandomWrites } from "./random_writes.ts";
import { median, medianRange, spreadOf } from "./statistics.ts";

const DISK_BYTES = 2 ** 30;
/** After ibackup has ended: nothing of it is in the numbers. */
const SETTLE_MS = 200;
const WINDOW_MS = 500;

/** Writes a second in two windows next to each other. */
interface Pair {
  on: number;
  off: number;
}

interface Pairs {
  tracking: Pair[];
  /** With nothing switched: what the measurement itself makes of one and the same thing. */
  noise: Pair[];
}

export const TRACKING_COST: Figure = { name: "tracking on / off", measure };

async function measure(options: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const memory = memoryFolder(machine);
    const env = environmentOf(memory);
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
    const bench = { machine, env, options };
    const onDisk = await measurePairs({ ...bench, file: machine.path("disk.img") });
    const inMemory = await measurePairs({ ...bench, file: join(memory, "disk.img") });
    return [
      ...valuesOf("file in /var/tmp", onDisk, { atLeast: 0.99 }),
      // Nothing but the processor limits these writes: each nanosecond shows.
      ...valuesOf("file in memory", inMemory),
    ];
  } finally {
    machine.close();
  }
}

interface Bench {
  machine: Machine;
  env: Record<string, string>;
  options: MeasureOptions;
  /** What the loop disk stands on. */
  file: string;
}

async function measurePairs({ machine, env, options, file }: Bench): Promise<Pairs> {
  const device = makeLoopDisk(machine, file, DISK_BYTES);
  options.say(`  a loop disk over ${file}`);
  // Fills the file, so that no write has to find room for it.
  run("dd", "if=/dev/zero", `of=${device}`, "bs=1M", `count=${DISK_BYTES >> 20}`, "oflag=direct");
  const track = (...args: string[]) => void ibackupJson(machine, ["track", ...args], { env });
  let tracked = false;
  const switchTo = (on: boolean): void => {
    if (on === tracked) track("status");
    else track(on ? "start" : "stop", device);
    tracked = on;
  };
  const writes = await startRandomWrites(device);
  const pairs: Pairs = { tracking: [], noise: [] };
  try {
    while (pairs.tracking.length < (options.quick ? 20 : 240)) {
      // off on, on off, off on...: what drifts meanwhile falls on both alike.
      const onFirst = pairs.tracking.length % 2 === 1;
      const order = onFirst ? [true, false] : [false, true];
      pairs.tracking.push(await measurePair(writes, order, switchTo));
      pairs.noise.push(await measurePair(writes, order, () => track("status")));
      if (pairs.tracking.length % 20 === 0) sayHow(pairs, options.say);
    }
  } finally {
    await writes.stop();
  }
  switchTo(false);
  return pairs;
}

async function measurePair(
  writes: RandomWrites,
  order: readonly boolean[],
  switchTo: (on: boolean) => void,
): Promise<Pair> {
  const pair = { on: 0, off: 0 };
  for (const on of order) {
    switchTo(on);
    await sleep(SETTLE_MS);
    pair[on ? "on" : "off"] = await writes.rate(WINDOW_MS);
  }
  return pair;
}

function ratiosOf(pairs: readonly Pair[]): number[] {
  return pairs.map(({ on, off }) => on / off);
}

function sayHow({ tracking, noise }: Pairs, say: MeasureOptions["say"]): void {
  const [ratio, unswitched] = [tracking, noise].map((pairs) => median(ratiosOf(pairs)).toFixed(3));
  say(`  ${tracking.length} pairs: on / off ${ratio}, nothing switched ${unswitched}`);
}

function valuesOf(where: string, { tracking, noise }: Pairs, goal?: Value["goal"]): Value[] {
  const ratio = (name: string, pairs: readonly Pair[]): Value => {
    const ratios = ratiosOf(pairs);
    return {
      name: `4 KiB random writes, ${where}, ${name}`,
      measured: median(ratios),
      unit: "",
      decimals: 3,
      spread: `95 % sure of ${medianRange(ratios, 3)}; ${spreadOf(ratios, 2)}`,
    };
  };
  const iops = (name: string, rates: number[]): Value => ({
    name: `${where}, ${name}, median`,
    measured: median(rates),
    unit: " IOPS",
    decimals: 0,
    spread: spreadOf(rates, 0),
  });
  return [
    { ...ratio("median ratio", tracking), ...(goal && { goal }) },
    ratio("the same with nothing switched", noise),
    iops(
      "tracked",
      tracking.map(({ on }) => on),
    ),
    iops(
      "not tracked",
      tracking.map(({ off }) => off),
    ),
  ];
}
