/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { join } from "node:path";
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
    const onDisk = await measureWindows({
      ...bench,
      file: machine.path("disk.img"),
      pairs: options.quick ? 20 : 300,
    });
    const inMemory = await measureWindows({
      ...bench,
      file: join(memory, "disk.img"),
      pairs: options.quick ? 20 : 100,
    });
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
  say: MeasureOptions["say"];
  /** What the loop disk stands on. */
  file: string;
  pairs: number;
}

async function measureWindows({ machine, env, say, file, pairs }: Bench): Promise<Window[]> {
  const device = makeLoopDisk(machine, file, DISK_BYTES);
  say(`  a loop disk over ${file}`);
  // Fills the file, so that no write has to find room for it.
  run("dd", "if=/dev/zero", `of=${device}`, "bs=1M", `count=${DISK_BYTES >> 20}`, "oflag=direct");
  const track = (...args: string[]) => void ibackupJson(machine, ["track", ...args], { env });
  const writes = await startRandomWrites(device);
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
