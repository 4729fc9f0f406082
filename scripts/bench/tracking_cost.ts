/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { join } from "node:path";
import { Machine, run } from "../../test/support/machine.ts";
import { ibackupJson } from "../../test/support/program.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { median, spreadOf } from "./statistics.ts";

const DISK_BYTES = 2 ** 30;

interface Pair {
  on: number;
  off: number;
}

export const TRACKING_COST: Figure = { name: "tracking on / off", measure };

async function measure(options: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const memory = memoryFolder(machine);
    const env = environmentOf(memory);
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
    const onDisk = measurePairs({ machine, env, options, file: machine.path("disk.img") });
    const inMemory = measurePairs({ machine, env, options, file: join(memory, "disk.img") });
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

function measurePairs({ machine, env, options: { quick, say }, file }: Bench): Pair[] {
  const device = makeLoopDisk(machine, file, DISK_BYTES);
  say(`  a loop disk over ${file}`);
  // Fills the file, so that no write has to find room for it.
  run("dd", "if=/dev/zero", `of=${device}`, "bs=1M", `count=${DISK_BYTES >> 20}`, "oflag=direct");
  const write = (tracked: boolean): number => {
    ibackupJson(machine, ["track", tracked ? "start" : "stop", device], { env });
    return randomWriteIops(device, quick ? 1 : 4);
  };
  const pairs: Pair[] = [];
  while (pairs.length < (quick ? 4 : 16)) {
    // off on, on off, off on...: what drifts meanwhile falls on both alike.
    const onFirst = pairs.length % 2 === 1;
    const first = write(onFirst);
    const second = write(!onFirst);
    const pair = onFirst ? { on: first, off: second } : { on: second, off: first };
    pairs.push(pair);
    say(`  pair ${pairs.length}: on ${pair.on.toFixed(0)}, off ${pair.off.toFixed(0)} IOPS`);
  }
  ibackupJson(machine, ["track", "stop", device], { env });
  return pairs;
}

function valuesOf(where: string, pairs: readonly Pair[], goal?: Value["goal"]): Value[] {
  const ratios = pairs.map(({ on, off }) => on / off);
  const iops = { unit: " IOPS", decimals: 0 };
  const on = pairs.map((pair) => pair.on);
  const off = pairs.map((pair) => pair.off);
  return [
    {
      name: `4 KiB random writes, ${where}, median ratio`,
      measured: median(ratios),
      unit: "",
      decimals: 3,
      ...(goal && { goal }),
      spread: spreadOf(ratios, 2),
    },
    { name: `${where}, tracked, median`, measured: median(on), ...iops, spread: spreadOf(on, 0) },
    { name: `${where}, not tracked`, measured: median(off), ...iops, spread: spreadOf(off, 0) },
  ];
}

interface FioReport {
  jobs: { write: { iops: number } }[];
}

function randomWriteIops(device: string, seconds: number): number {
  const report = JSON.parse(
    run(
      "fio",
      ...["--name=write", `--filename=${device}`, "--rw=randwrite", "--bs=4k", "--direct=1"],
      ...["--ioengine=libaio", "--iodepth=32", "--norandommap", "--randrepeat=0"],
      ...["--time_based", `--runtime=${seconds}`, "--ramp_time=0.3", "--output-format=json"],
    ),
  ) as FioReport;
  const iops = report.jobs[0]?.write.iops;
  if (iops === undefined || iops <= 0) throw new Error("fio reports no writes");
  return iops;
}
