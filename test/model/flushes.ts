/** Flushes of every fate: to their end, with a failing store, with a killed helper, killed themselves. */
import { once } from "node:events";
import { pid } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { type ErrorCode, EXIT_STATUS, IbackupError } from "../../src/errors.ts";
import { flushDevice } from "../../src/job/flush.ts";
import type { FlushOptions } from "../../src/job/flush_task.ts";
import { stopTracking } from "../../src/job/track.ts";
import { type FaultPlan, FaultStore } from "../support/fault_store.ts";
import { childrenOf, commandOf, signal } from "../support/processes.ts";
import { startIbackup } from "../support/program.ts";
import { type Change, SECTOR_BYTES } from "./disk.ts";
import { type Ending, judge } from "./judge.ts";
import type { ModelRepository } from "./repository.ts";
import { DISK_NAME, VM_ID, type World } from "./world.ts";

export interface FlushPlan {
  scan?: boolean;
  base?: boolean;
  /** Writes while it runs. */
  writing?: boolean;
  fault?: FaultPlan;
  killHelper?: boolean;
  consistency?: FlushOptions["consistency"];
}

/** @returns In a word, what came of it. */
export async function flush(
  world: World,
  repository: ModelRepository,
  plan: FlushPlan = {},
): Promise<string> {
  const { scan = false, base = false, consistency = "fuzzy" } = plan;
  const mayFail = [
    ...(plan.fault === undefined ? [] : ["STORE_UNREACHABLE", "REPOSITORY_MISSING"]),
    ...(plan.killHelper === true || world.tracking === "unsure" ? ["TRACKER"] : []),
    ...(consistency === "fuzzy" ? [] : ["CONSISTENCY"]),
    ...(repository.lease === "strange" ? ["LOCKED"] : []),
  ];
  const options = { device: world.disk.device, vmId: VM_ID, diskName: DISK_NAME, scan, base };
  const work = async (): Promise<Ending> => {
    const context = world.context(() =>
      repository.open((store) => (plan.fault ? new FaultStore(store, plan.fault) : store)),
    );
    const flushing = endingOf(flushDevice(context, { ...options, consistency }));
    if (plan.killHelper === true) await killHelperSoon(world, flushing);
    return await flushing;
  };
  return await runAndJudge(world, repository, { plan, mayFail, work, isElsewhere: false });
}

/** Flushes both at once: only one can have the disk at a time. */
export async function flushBoth(world: World): Promise<string> {
  const asked = { base: false, scan: false, mayFail: ["LOCKED"] };
  const { result, ...recorded } = await world.disk.record(async () =>
    Promise.all(
      world.repositories.map((repository) => {
        const options = { device: world.disk.device, vmId: VM_ID, diskName: DISK_NAME };
        const context = world.context(() => repository.open());
        const job = { ...options, scan: false, base: false, consistency: "fuzzy" } as const;
        return endingOf(flushDevice(context, job));
      }),
    ),
  );
  for (const [i, repository] of world.repositories.entries()) {
    const ending = result[i] ?? { kind: "killed" };
    const { doubt } = repository;
    await judge(world, repository, { ...recorded, asked, ending, doubt });
  }
  return result.map(({ kind }) => kind).join(" and ");
}

/** The binary, killed at a random moment of its flush. */
export async function killedFlush(
  world: World,
  repository: ModelRepository,
  writing: boolean,
): Promise<string> {
  const { site, disk, random } = world;
  site.repo = repository.url;
  const afterMs = random.below(Math.ceil(1.3 * world.flushMs));
  const work = async (): Promise<Ending> => {
    const startedMs = performance.now();
    const args = ["flush", disk.device, "--disk", DISK_NAME, "--vm", VM_ID];
    const child = startIbackup(site.machine, args, site.options);
    const messages: string[] = [];
    child.stderr?.on("data", (text) => messages.push(String(text)));
    const ended = once(child, "close");
    const timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
    const [status] = await ended;
    clearTimeout(timer);
    if (status === null) return { kind: "killed" };
    world.flushMs = (world.flushMs + performance.now() - startedMs) / 2;
    if (status === 0) return { kind: "killed" };
    const why = `status ${status}`;
    throw new IbackupError(codeOf(status), messages.join(""), { why, fix: "nothing" });
  };
  const mayFail = [
    ...(world.tracking === "unsure" ? ["TRACKER"] : []),
    ...(repository.lease === "strange" ? ["LOCKED"] : []),
  ];
  const caught = async (): Promise<Ending> =>
    await work().catch((error: unknown) => ({ kind: "failed", error }));
  const run = { plan: { writing }, mayFail, work: caught, isElsewhere: true };
  return await runAndJudge(world, repository, run);
}

interface FlushRun {
  plan: FlushPlan;
  mayFail: readonly string[];
  work: () => Promise<Ending>;
  /** By a process that is no more when the work is done. */
  isElsewhere: boolean;
}

async function runAndJudge(
  world: World,
  repository: ModelRepository,
  run: FlushRun,
): Promise<string> {
  const { scan = false, base = false, writing = false } = run.plan;
  const doubt = { ...repository.doubt };
  const { result: ending, ...recorded } = await world.disk.record(() =>
    writing ? whileWriting(world, run.work()) : run.work(),
  );
  const asked = { scan, base, mayFail: run.mayFail };
  const manifest = await judge(world, repository, { ...recorded, asked, ending, doubt });
  noteLease(world, repository, { run, ending });
  await startAnewWhereBroken(world, ending);
  const { gapCheck, consistency } = manifest ?? {};
  const what = manifest ? `${manifest.backupId} ${gapCheck} ${consistency}` : "nothing";
  return `${ending.kind}: ${what}, ${recorded.changes.length} writes meanwhile`;
}

function noteLease(
  world: World,
  repository: ModelRepository,
  { run, ending }: { run: FlushRun; ending: Ending },
): void {
  const isLocked = ending.kind === "failed" && (ending.error as IbackupError).code === "LOCKED";
  // As if it had been waited for. A flush by the binary goes by the real clock, and fails again.
  if (isLocked) world.clockOffsetMs += 10 * 60_000;
  else if (ending.kind === "committed" && run.plan.fault === undefined) repository.lease = "none";
  // It is known that its process has ended.
  else if (run.isElsewhere) return;
  // One that failed early may not have got so far as to replace the strange one.
  else if (repository.lease === "none") repository.lease = "left";
}

function codeOf(status: number): ErrorCode {
  const codes = Object.keys(EXIT_STATUS) as ErrorCode[];
  return codes.find((code) => EXIT_STATUS[code] === status) ?? "INTERNAL";
}

/** Broken hooks are for the user to stop: the message says so. */
async function startAnewWhereBroken(world: World, ending: Ending): Promise<void> {
  const isBroken = ending.kind === "failed" && (ending.error as IbackupError).code === "TRACKER";
  if (!isBroken || world.tracking !== "unsure") return;
  await stopTracking(world.bareContext, []);
  world.tracking = "off";
  world.doubt("tracking was broken");
}

async function endingOf(flushing: ReturnType<typeof flushDevice>): Promise<Ending> {
  try {
    const { backupId } = await flushing;
    return { kind: "committed", backupId };
  } catch (error) {
    return { kind: "failed", error };
  }
}

/** Direct writes, one after another, until the work is done: now and then, or without a pause. */
async function whileWriting<T>(world: World, work: Promise<T>): Promise<T> {
  const random = world.random.fork();
  const pauseMs = [0, 0, 5, 40][random.below(4)] ?? 0;
  let goesOn = true;
  const working = work.finally(() => {
    goesOn = false;
  });
  async function* changes(): AsyncGenerator<Change> {
    for (;;) {
      if (pauseMs > 0) await Promise.race([sleep(random.below(pauseMs)), settled(working)]);
      if (!goesOn) return;
      yield world.randomChange(random, SECTOR_BYTES);
      world.noteWrite();
    }
  }
  const [result] = await Promise.all([working, world.disk.writeDirectSlowly(changes())]);
  return result;
}

async function settled(working: Promise<unknown>): Promise<void> {
  await working.catch(() => undefined);
}

/** Kills the helper that this process has started, at a random moment of the flush. */
async function killHelperSoon(world: World, flushing: Promise<unknown>): Promise<void> {
  const delay = sleep(world.random.below(60));
  await Promise.race([delay, flushing]);
  for (const child of childrenOf(pid)) {
    if (commandOf(child).includes(world.site.pinFolder)) signal(child, "SIGKILL");
  }
}
