/** Whether a repository of many packs and one very long chain can still be worked with. */
import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { text } from "node:stream/consumers";
import { Machine } from "../../test/support/machine.ts";
import { peakBytesOf } from "../../test/support/processes.ts";
import { startIbackup } from "../../test/support/program.ts";
import { memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { makeScaleRepository } from "./scale_repository.ts";
import { median } from "./statistics.ts";

const MiB = 2 ** 20;
const POLL_MS = 5;
/** USER_HZ, on all architectures that ibackup runs on. */
const TICKS_PER_SECOND = 100;
const ROUNDS = 3;

export const REPOSITORY_SCALE: Figure = { name: "repository scale", measure };

interface Run {
  seconds: number;
  /** Of processors, the kernel's work for it included. */
  cpuSeconds: number;
  peakBytes: number;
}

async function measure({ quick, say }: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const [packs, backups] = quick ? [10_000, 200] : [100_000, 2_000];
    const half = await measureOne(machine, { packs: packs / 2, backups: backups / 2, say });
    const whole = await measureOne(machine, { packs, backups, say });
    const peak = Math.max(whole.prune.peakBytes, whole.gc.peakBytes) / MiB;
    const of = `of ${packs} packs, ${backups} backups`;
    return [
      seconds(`list ${of}`, whole.list.seconds, 1),
      seconds("restore --dry-run of the last one", whole.plan.seconds, 5),
      seconds("verify", whole.verify.seconds),
      seconds("prune of nine in ten", whole.prune.seconds),
      seconds("gc of what they had", whole.gc.seconds),
      {
        name: "prune, peak memory",
        measured: whole.prune.peakBytes / MiB,
        unit: " MiB",
        decimals: 0,
      },
      {
        name: "prune and gc, peak memory",
        measured: peak,
        unit: " MiB",
        decimals: 0,
        goal: { atMost: 512 },
      },
      ratio("prune, twice as much / as much, processor time", whole.prune, half.prune),
      ratio("gc, twice as much / as much, processor time", whole.gc, half.gc),
    ];
  } finally {
    machine.close();
  }
}

function seconds(name: string, measured: number, atMost?: number): Value {
  return { name, measured, unit: " s", decimals: 2, ...(atMost && { goal: { atMost } }) };
}

/** Linear would be 2, less what does not grow. What others do meanwhile is not counted. */
function ratio(name: string, large: Run, small: Run): Value {
  const measured = large.cpuSeconds / small.cpuSeconds;
  return { name, measured, unit: "", decimals: 2, goal: { atMost: 2.4 } };
}

async function measureOne(
  machine: Machine,
  { packs, backups, say }: { packs: number; backups: number; say: MeasureOptions["say"] },
) {
  const folder = memoryFolder(machine);
  const repo = await makeScaleRepository(folder, { packs, backups });
  const run = async (...args: string[]): Promise<Run> => {
    const one = await timed(machine, [...args, "--repo", repo]);
    say(
      `  ${packs} packs, ${args[0]}: ${one.seconds.toFixed(2)} s, ${one.cpuSeconds.toFixed(2)} s of processors, ${(one.peakBytes / MiB).toFixed(0)} MiB`,
    );
    return one;
  };
  const list = await medianOf(() => run("list", "--json"));
  const target = `${folder}/restored.img`;
  const plan = await medianOf(() => run("restore", "latest", "--target", target, "--dry-run"));
  const verify = await run("verify");
  const prune = await run("prune", "--keep-last", String(backups / 10), "--json");
  const gc = await run("gc", "--grace", "0s", "--json");
  rmSync(folder, { recursive: true });
  return { list, plan, verify, prune, gc };
}

async function medianOf(run: () => Promise<Run>): Promise<Run> {
  const runs: Run[] = [];
  for (let round = 0; round < ROUNDS; round++) runs.push(await run());
  return {
    seconds: median(runs.map((one) => one.seconds)),
    cpuSeconds: median(runs.map((one) => one.cpuSeconds)),
    peakBytes: Math.max(...runs.map((one) => one.peakBytes)),
  };
}

async function timed(machine: Machine, args: string[]): Promise<Run> {
  const startedAt = performance.now();
  const child = startIbackup(machine, args, { env: {} });
  let peakBytes = 0;
  let cpuSeconds = 0;
  const polling = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakBytesOf(child.pid ?? 0));
    cpuSeconds = Math.max(cpuSeconds, cpuSecondsOf(child.pid));
  }, POLL_MS);
  if (child.stdout === null || child.stderr === null) throw new Error("ibackup has no output");
  const outputs = Promise.all([text(child.stdout), text(child.stderr)]);
  const [status] = await once(child, "close");
  const run = { seconds: (performance.now() - startedAt) / 1000, cpuSeconds, peakBytes };
  clearInterval(polling);
  const [, errors] = await outputs;
  if (status !== 0) throw new Error(`${args.join(" ")}: status ${status}\n${errors}`);
  return run;
}

/** What a process has used so far; 0 when it is gone. */
function cpuSecondsOf(process: number | undefined): number {
  try {
    const stat = readFileSync(`/proc/${process}/stat`, "utf8");
    // After the name, which may hold anything, from the third field on.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}
