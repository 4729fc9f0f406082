/** What tracking costs: 4 KiB random writes with the hooks attached, against without. */
import { join } from "node:path";
import { Machine, run } from "../../test/support/machine.ts";
import { ibackupJson } from "../../test/support/program.ts";
import { environmentOf, memoryDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { median, spreadOf } from "./statistics.ts";

const DISK_BYTES = 2 ** 30;

interface Pair {
  on: number;
  off: number;
}

export const TRACKING_COST: Figure = { name: "tracking on / off", measure };

async function measure({ quick, say }: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const folder = memoryFolder(machine);
    const device = memoryDisk(machine, join(folder, "disk.img"), DISK_BYTES);
    const env = environmentOf(folder);
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
    const seconds = quick ? 1 : 4;
    const write = (tracked: boolean): number => {
      ibackupJson(machine, ["track", tracked ? "start" : "stop", device], { env });
      return randomWriteIops(device, seconds);
    };
    // Fills the file, so that no write has to find memory for it.
    run("dd", "if=/dev/zero", `of=${device}`, "bs=1M", `count=${DISK_BYTES >> 20}`, "oflag=direct");
    const pairs: Pair[] = [];
    while (pairs.length < (quick ? 4 : 16)) {
      // off on, on off, off on...: what drifts meanwhile falls on both alike.
      const onFirst = pairs.length % 2 === 1;
      const first = write(onFirst);
      const second = write(!onFirst);
      pairs.push(onFirst ? { on: first, off: second } : { on: second, off: first });
      const last = pairs.at(-1);
      say(`  pair ${pairs.length}: on ${last?.on.toFixed(0)}, off ${last?.off.toFixed(0)} IOPS`);
    }
    return valuesOf(pairs);
  } finally {
    machine.close();
  }
}

function valuesOf(pairs: readonly Pair[]): Value[] {
  const ratios = pairs.map(({ on, off }) => on / off);
  const iops = { unit: " IOPS", decimals: 0 };
  const on = pairs.map((pair) => pair.on);
  const off = pairs.map((pair) => pair.off);
  return [
    {
      name: "4 KiB random writes, median ratio",
      measured: median(ratios),
      unit: "",
      decimals: 3,
      goal: { atLeast: 0.99 },
      spread: spreadOf(ratios, 2),
    },
    { name: "with tracking, median", measured: median(on), ...iops, spread: spreadOf(on, 0) },
    { name: "without, median", measured: median(off), ...iops, spread: spreadOf(off, 0) },
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
