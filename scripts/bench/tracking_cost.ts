/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Machine, run } from "../../test/support/machine.ts";
import { ibackupJson } from "../../test/support/program.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { startRandomWrites } from "./random_writes.ts";
import { median, medianRange, spreadOf } from "./statistics.ts";

const DISK_BYTES = 2 ** 30;
/** After ibackup has ended: nothing of it is in the numbers. */
const SETTLE_MS = 200;
const WINDOW_MS = 500;

/** Of half a second, in which nothing is switched. */
interface Window {
  tracked: boolean;
  /** Writes a second. */
  rate: number;
}

export const TRACKING_COST: Figure = { name: "tracking on / off", measure };

async function measure(options: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const memory = memoryFolder(machine);
    const env = environmentOf(memory);
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
    const bench = { machine, env, say: options.say };
    const pairs = options.quick ? 20 : 100;
    const file = machine.path("disk.img");
    allocate(file);
    const own = diskBelow(file);
    const onOwnDisk = await measureWindows({ ...bench, file, device: own, pairs: 3 * pairs });
    const overFile = machine.attach(file);
    const onLoop = await measureWindows({ ...bench, file: overFile, device: overFile, pairs });
    const inMemory = makeLoopDisk(machine, join(memory, "disk.img"), DISK_BYTES);
    allocate(inMemory);
    const onMemory = await measureWindows({ ...bench, file: inMemory, device: inMemory, pairs });
    return [
      ...valuesOf("the machine's own disk", onOwnDisk, { atLeast: 0.99 }),
      // Each write passes the hooks twice: on the loop disk, and on the one below it.
      ...valuesOf("loop disk over a file", onLoop),
      // Nothing but the processor limits these writes: each nanosecond shows.
      ...valuesOf("loop disk in memory", onMemory),
    ];
  } finally {
    machine.close();
  }
}

/** Fills it, so that no write has to find room. */
function allocate(path: string): void {
  const count = `count=${DISK_BYTES >> 20}`;
  run("dd", "if=/dev/zero", `of=${path}`, "bs=1M", count, "oflag=direct", "conv=notrunc");
}

/** The whole disk that a file's file system is on. */
function diskBelow(file: string): string {
  const number = statSync(file).dev;
  const place = `/sys/dev/block/${(number >> 8) & 0xfff}:${(number & 0xff) | ((number >> 12) & 0xfff00)}`;
  if (!existsSync(place)) {
    throw new Error(`${file} is not on one disk: nothing to track`);
  }
  const folder = realpathSync(place);
  return `/dev/${basename(existsSync(join(folder, "partition")) ? dirname(folder) : folder)}`;
}

interface Bench {
  machine: Machine;
  env: Record<string, string>;
  say: MeasureOptions["say"];
  /** Where the writes go. */
  file: string;
  /** The disk that is tracked. */
  device: string;
  pairs: number;
}

async function measureWindows(bench: Bench): Promise<Window[]> {
  const { machine, env, say, file, device, pairs } = bench;
  say(`  writes to ${file}; ${device} is tracked`);
  const track = (...args: string[]) => void ibackupJson(machine, ["track", ...args], { env });
  const writes = await startRandomWrites(file, device);
  const windows: Window[] = [];
  try {
    while (windows.length < 2 * pairs) {
      // off on, on off, off on...: what drifts meanwhile falls on both alike.
      const tracked = windows.length % 4 === 1 || windows.length % 4 === 2;
      if (tracked === (windows.at(-1)?.tracked ?? false)) track("status");
      else track(tracked ? "start" : "stop", device);
      await sleep(SETTLE_MS);
      windows.push({ tracked, rate: await writes.rate(WINDOW_MS) });
      if (windows.length % 40 === 0) sayHow(windows, say);
    }
  } finally {
    await writes.stop();
  }
  return windows;
}

/** Of each two windows that follow each other. */
interface Ratios {
  onToOff: number[];
  /** Where both are of one kind: what the measurement makes of no difference at all. */
  noise: number[];
}

function ratiosOf(windows: readonly Window[]): Ratios {
  const ratios: Ratios = { onToOff: [], noise: [] };
  for (const [i, second] of windows.entries()) {
    const first = windows[i - 1];
    if (first === undefined) continue;
    // The disk stood still throughout: 0 / 0 says nothing, and cannot be sorted.
    if (first.rate === 0 && second.rate === 0) continue;
    const later = second.rate / first.rate;
    // The kinds alternate, and with them which window is held against which: no drift remains.
    const ratio = second.tracked ? later : 1 / later;
    (first.tracked === second.tracked ? ratios.noise : ratios.onToOff).push(ratio);
  }
  return ratios;
}

function sayHow(windows: readonly Window[], say: MeasureOptions["say"]): void {
  const { onToOff, noise } = ratiosOf(windows);
  const [ratio, unswitched] = [onToOff, noise].map((ratios) => median(ratios).toFixed(3));
  say(`  ${onToOff.length} pairs: on / off ${ratio}, nothing switched ${unswitched}`);
}

function valuesOf(where: string, windows: readonly Window[], goal?: Value["goal"]): Value[] {
  const { onToOff, noise } = ratiosOf(windows);
  const ratio = (name: string, ratios: readonly number[]): Value => ({
    name: `4 KiB random writes, ${where}, ${name}`,
    measured: median(ratios),
    unit: "",
    decimals: 3,
    spread: `95 % sure of ${medianRange(ratios, 3)}; ${spreadOf(ratios, 2)}`,
  });
  const iops = (name: string, tracked: boolean): Value => {
    const rates = windows.filter((window) => window.tracked === tracked).map(({ rate }) => rate);
    return {
      name: `${where}, ${name}, median`,
      measured: median(rates),
      unit: " IOPS",
      decimals: 0,
      spread: spreadOf(rates, 0),
    };
  };
  return [
    { ...ratio("median ratio", onToOff), ...(goal && { goal }) },
    ratio("the same with nothing switched", noise),
    iops("tracked", true),
    iops("not tracked", false),
  ];
}
