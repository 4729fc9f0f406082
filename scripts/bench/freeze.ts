/** How long a flush freezes the file system of a disk in use. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { arrangeThaw } from "../../test/support/freezing.ts";
import { Machine, run } from "../../test/support/machine.ts";
import { type Flushed, ibackupJson } from "../../test/support/program.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { median, quantile, spreadOf } from "./statistics.ts";

const MiB = 2 ** 20;
/** Nothing of this bench lasts longer. */
const HOURS_SECONDS = 4 * 3600;

export const FREEZE: Figure = { name: "freeze", measure };

async function measure(options: MeasureOptions): Promise<Value[]> {
  const { quick } = options;
  const steady = await measureFlushes(options, {
    fileMiB: 512,
    writesPerSecond: 5000,
    flushCount: quick ? 10 : 100,
  });
  const saturated = await measureFlushes(options, {
    fileMiB: quick ? 1024 : 4096,
    flushCount: quick ? 2 : 10,
  });
  const [steadyMs, saturatedMs] = [steady, saturated].map((all) => all.map(freezeMsOf));
  const milliseconds = { unit: " ms", decimals: 0 };
  const spread = spreadOf(steadyMs ?? [], 0);
  return [
    {
      name: "5,000 random 4 KiB writes a second, median",
      measured: median(steadyMs ?? []),
      ...milliseconds,
      goal: { atMost: 60 },
      spread,
    },
    {
      name: "the same, 99th percentile",
      measured: quantile(steadyMs ?? [], 0.99),
      ...milliseconds,
      goal: { atMost: 250 },
    },
    { name: "the same, ended frozen", ...frozenShare(steady) },
    {
      name: `as many as the disk takes, over ${quick ? 1 : 4} GiB, the longest`,
      measured: Math.max(...(saturatedMs ?? [])),
      ...milliseconds,
      goal: { atMost: 1000 },
      spread: spreadOf(saturatedMs ?? [], 0),
    },
    { name: "the same, ended frozen", ...frozenShare(saturated) },
  ];
}

interface Load {
  fileMiB: number;
  /** Undefined: as many as the disk takes. */
  writesPerSecond?: number;
  flushCount: number;
}

/** A base and then incrementals of a mounted ext4 that fio writes to all the time. */
async function measureFlushes(
  { say }: MeasureOptions,
  { fileMiB, writesPerSecond, flushCount }: Load,
): Promise<Flushed[]> {
  const machine = new Machine();
  try {
    const device = makeLoopDisk(machine, machine.path("disk.img"), (fileMiB + 512) * MiB);
    run("mkfs.ext4", "-q", device);
    const folder = machine.mount(device);
    const env = environmentOf(memoryFolder(machine));
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
    ibackupJson(machine, ["init", "--no-encryption"], { env });
    ibackupJson(machine, ["track", "start", device], { env });
    const file = join(folder, "file");
    layOut(file, fileMiB);
    const writer = startWriter(file, fileMiB, writesPerSecond);
    try {
      const flushes: Flushed[] = [];
      for (let i = 0; i <= flushCount; i++) {
        const thaw = arrangeThaw(machine, folder);
        const flushed = ibackupJson<Flushed>(machine, ["flush", device], { env });
        await thaw();
        if (!isRunning(writer)) throw new Error("fio has ended");
        say(`  ${describe(flushed)}`);
        if (i > 0) flushes.push(flushed);
        await pause(200);
      }
      return flushes;
    } finally {
      writer.kill("SIGKILL");
      if (isRunning(writer)) await once(writer, "close");
    }
  } finally {
    machine.close();
  }
}

/** Writes all of the file, so that no write has to find room for it. */
function layOut(file: string, fileMiB: number): void {
  run("dd", "if=/dev/zero", `of=${file}`, "bs=1M", `count=${fileMiB}`, "oflag=direct");
  if (!existsSync(file) || statSync(file).size !== fileMiB * MiB) throw new Error("no file");
}

function startWriter(file: string, fileMiB: number, rate: number | undefined): ChildProcess {
  return spawn(
    "fio",
    [
      ...["--name=write", `--filename=${file}`, `--size=${fileMiB}M`, "--rw=randwrite", "--bs=4k"],
      ...["--direct=1", "--ioengine=libaio", "--iodepth=32", "--norandommap", "--randrepeat=0"],
      ...["--time_based", `--runtime=${HOURS_SECONDS}`, "--thread"],
      ...(rate === undefined ? [] : [`--rate_iops=${rate}`]),
    ],
    { stdio: "ignore" },
  );
}

function isRunning({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null;
}

function freezeMsOf({ freezeMs }: Flushed): number {
  if (freezeMs === null) throw new Error("nothing was frozen");
  return freezeMs;
}

function frozenShare(flushes: readonly Flushed[]): Pick<Value, "measured" | "unit" | "decimals"> {
  const frozen = flushes.filter(({ consistency }) => consistency === "frozen");
  return { measured: (100 * frozen.length) / flushes.length, unit: " %", decimals: 0 };
}

function describe({ consistency, freezeMs, passes, blocksChanged, durationMs }: Flushed): string {
  const seconds = (durationMs / 1000).toFixed(1);
  return `${consistency}: ${freezeMs?.toFixed(0)} ms, ${passes} passes, ${blocksChanged} blocks, ${seconds} s`;
}
