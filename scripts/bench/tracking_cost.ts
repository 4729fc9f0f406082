/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { pid } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { describeDevice } from "../../src/disk/block_device.ts";
import { HelperProcess } from "../../src/tracker/helper_process.ts";
import { attach, detach, readTrackingStatus, type Slot } from "../../src/tracker/tracker.ts";
import { Machine, run } from "../../test/support/machine.ts";
import { makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { startRandomWrites } from "./random_writes.ts";
import { median, medianRange, spreadOf } from "./statistics.ts";

const DISK_BYTES = 2 ** 30;
/** Writes in flight. */
const SATURATING = 32;
const HELPER = join(import.meta.dirname, "../../helper/.output/ibackup-helper");
/** After switching: nothing of it is in the numbers. */
const SETTLE_MS = 100;
const WINDOW_MS = 400;

/** In which nothing is switched. */
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
    const bench = { say: options.say };
    const pairs = options.quick ? 20 : 100;
    const file = machine.path("disk.img");
    allocate(file);
    const own = { file, device: diskBelow(file) };
    const all = { ...bench, ...own, inFlight: SATURATING };
    const saturated = await measureWindows({ ...all, jobs: 2, pairs: 3 * pairs });
    const oneWriter = await measureWindows({ ...all, jobs: 1, pairs });
    const oneByOne = await measureWindows({ ...all, jobs: 1, inFlight: 1, pairs });
    const inMemory = makeLoopDisk(machine, join(memory, "disk.img"), DISK_BYTES);
    allocate(inMemory);
    const loop = { file: inMemory, device: inMemory };
    const onMemory = await measureWindows({ ...all, ...loop, jobs: 1, pairs });
    return [
      // What a disk can take is what counts: two writers leave a processor time to spare.
      ...valuesOf("the machine's own disk", saturated, { atLeast: 0.99 }),
      // Nothing but a processor limits these writes: each nanosecond shows.
      ...valuesOf("the machine's own disk, one writer", oneWriter),
      ...valuesOf("loop disk in memory, one writer", onMemory),
      ...valuesOf("the machine's own disk, one write at a time", oneByOne),
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
  say: MeasureOptions["say"];
  /** Where the writes go. */
  file: string;
  /** The disk that is tracked. */
  device: string;
  /** Writers. */
  jobs: 1 | 2;
  /** Writes of all of them. */
  inFlight: number;
  pairs: number;
}

/**
 * The helper is asked directly. A command that starts and ends takes the processors for a tenth of
 * a second, which the writer makes up for in the window after it: that was more than what is measured.
 */
class Switch {
  readonly #helper = new HelperProcess({
    path: HELPER,
    args: ["--pins", `/sys/fs/bpf/ibackup-bench-${pid}`],
  });
  readonly #device: string;
  #slot: Slot | undefined;

  constructor(device: string) {
    this.#device = device;
  }

  async set(tracked: boolean): Promise<void> {
    const slot = this.#slot;
    if (tracked === (slot !== undefined)) {
      await readTrackingStatus(this.#helper);
      return;
    }
    if (slot !== undefined) await detach(this.#helper, slot);
    const device = describeDevice(this.#device);
    this.#slot = tracked ? await attach(this.#helper, device, ["block"]) : undefined;
  }

  async close(): Promise<void> {
    await this.set(false);
    await this.#helper.close();
  }
}

async function measureWindows({ say, file, device, pairs, ...load }: Bench): Promise<Window[]> {
  say(`  writes to ${file}; ${device} is tracked`);
  const tracking = new Switch(device);
  const writes = await startRandomWrites(file, { device, ...load });
  const windows: Window[] = [];
  try {
    while (windows.length < 2 * pairs) {
      // off on, on off, off on...: what drifts meanwhile falls on both alike.
      const tracked = windows.length % 4 === 1 || windows.length % 4 === 2;
      await tracking.set(tracked);
      await sleep(SETTLE_MS);
      windows.push({ tracked, rate: await writes.rate(WINDOW_MS) });
      if (windows.length % 40 === 0) sayHow(windows, say);
    }
  } finally {
    await writes.stop();
    await tracking.close();
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
