/**
 * Collects every 10 ms while a file system is written to in parallel, then freezes it: what was
 * collected covers every block that differs from a copy made before.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { env, kill, stderr } from "node:process";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DiskImage } from "../../scripts/hook_coverage/disk_image.ts";
import { TwoHooks } from "../../scripts/hook_coverage/tracker.ts";
import { BlockSet } from "../../src/core/block_set.ts";
import { formatCount } from "../../src/core/units.ts";
import { systemCodeOf } from "../../src/errors.ts";
import { Machine, run } from "../support/machine.ts";
import { canTrack } from "../support/site.ts";

const SIZE_BYTES = 384 << 20;
const SECONDS = env["IBACKUP_LONG"] === "1" ? 60 : 5;
const COLLECT_EVERY_MS = 10;
/** The freeze lasts for as long as the disk is read. */
const THAW_AFTER_S = 120;

const FILE_SYSTEMS = [
  { name: "ext4", mkfs: ["mkfs.ext4", "-q"] },
  { name: "xfs", mkfs: ["mkfs.xfs", "-q"] },
  { name: "btrfs", mkfs: ["mkfs.btrfs", "-q"] },
];

/** Blocks by what was seen of them. */
interface Collected {
  byBlock: BlockSet;
  byBuffer: BlockSet;
  collects: number;
}

describe.runIf(canTrack())(`collected every ${COLLECT_EVERY_MS} ms for ${SECONDS} s`, () => {
  let machine: Machine;
  beforeEach(() => {
    machine = new Machine();
  });
  afterEach(() => machine.close());

  test.each(FILE_SYSTEMS)("no block of $name under load is missed", async ({ name, mkfs }) => {
    const [program = "", ...options] = mkfs;
    const disk = machine.loopDisk("disk", SIZE_BYTES);
    run(program, ...options, disk);
    const image = new DiskImage(disk, SIZE_BYTES);
    const before = await image.refresh();
    expect(before.isEmpty).toBe(false);
    const pins = `/sys/fs/bpf/ibackup-test-${randomBytes(6).toString("hex")}`;
    const hooks = await TwoHooks.attach(disk, join(machine.runtimeFolder, "pending"), pins);
    try {
      const folder = machine.mount(disk);
      const loads = startLoad(folder);
      const collected = await collectFor(hooks, SECONDS * 1000);
      const thaw = await freeze(machine, folder);
      try {
        await collectInto(collected, hooks);
        const changed = await image.refresh();
        report(name, changed, collected);
        expect(changed.count()).toBeGreaterThan(1000);
        expect(missing(changed, collected.byBlock)).toEqual([]);
      } finally {
        await thaw();
        await stopLoad(loads);
      }
    } finally {
      await hooks.close();
    }
  });
});

/** O_DIRECT and buffered writes to files of their own, and files that come and go. */
function startLoad(folder: string): ChildProcess[] {
  const common = ["--size=64m", "--bs=4k", "--rw=randwrite", "--time_based", "--runtime=600"];
  const fio = (name: string, ...options: string[]): ChildProcess =>
    spawn("fio", ["--thread", `--name=${name}`, `--directory=${folder}`, ...common, ...options], {
      stdio: "ignore",
      detached: true,
    });
  const churn = `cd '${folder}'; while :; do for i in 1 2 3 4 5 6 7 8; do
    head -c 50000 /dev/urandom > churn-$i; mv churn-$i churned-$i; done; sync -f .; rm churned-*; done`;
  return [
    fio("direct", "--direct=1", "--ioengine=libaio", "--iodepth=8"),
    fio("buffered", "--ioengine=psync", "--fsync=64"),
    spawn("bash", ["-c", churn], { stdio: "ignore", detached: true }),
  ];
}

/** Ends each, which is the leader of a process group of its own, with all that it started. */
async function stopLoad(loads: ChildProcess[]): Promise<void> {
  for (const { pid } of loads) while (pid !== undefined && isKilled(pid)) await delay(10);
}

/** @returns False when no process of the group is left. */
function isKilled(group: number): boolean {
  try {
    return kill(-group, "SIGKILL");
  } catch (error) {
    if (systemCodeOf(error) === "ESRCH") return false;
    throw error;
  }
}

async function collectFor(hooks: TwoHooks, durationMs: number): Promise<Collected> {
  const blockCount = SIZE_BYTES / 4096;
  const [byBlock, byBuffer] = [new BlockSet(blockCount), new BlockSet(blockCount + 1)];
  const collected = { byBlock, byBuffer, collects: 0 };
  const endsAt = performance.now() + durationMs;
  while (performance.now() < endsAt) {
    const next = delay(COLLECT_EVERY_MS);
    await collectInto(collected, hooks);
    await next;
  }
  return collected;
}

async function collectInto(collected: Collected, hooks: TwoHooks): Promise<void> {
  const { byBlock, byBuffer } = await hooks.collect();
  collected.byBlock.addAll(byBlock);
  collected.byBuffer.addAll(byBuffer);
  collected.collects += 1;
}

/**
 * Freezes while the load goes on. The thaw is arranged first, in a process of its own: it comes after a
 * time, or when this process ends, whose end of the pipe closes then.
 */
async function freeze(machine: Machine, folder: string): Promise<() => Promise<void>> {
  const script = `read -t ${THAW_AFTER_S} go; fsfreeze --unfreeze '${folder}'`;
  const thawing = spawn("bash", ["-c", script], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  const thaw = async (): Promise<void> => {
    if (thawing.exitCode !== null) return;
    const ended = once(thawing, "exit");
    thawing.stdin.end();
    await ended;
  };
  machine.onClose(() => thawing.stdin.end());
  const freezing = spawn("fsfreeze", ["--freeze", folder], { stdio: "inherit" });
  const [status] = await once(freezing, "exit");
  expect(status).toBe(0);
  return thaw;
}

function missing(changed: BlockSet, seen: BlockSet): number[] {
  const blocks: number[] = [];
  for (const { firstBlock, blockCount } of changed.extents()) {
    for (let i = 0; i < blockCount; i++) {
      if (!seen.has(firstBlock + i)) blocks.push(firstBlock + i);
    }
  }
  return blocks;
}

function report(name: string, changed: BlockSet, { byBlock, byBuffer, collects }: Collected): void {
  const missed = [byBlock, byBuffer].map((seen) => missing(changed, seen).length);
  stderr.write(
    `${name}: ${formatCount(collects, "collect")}, ${formatCount(changed.count(), "block")} changed, ` +
      `hook block collected ${byBlock.count()} and missed ${missed[0]}, ` +
      `hook buffer collected ${byBuffer.count()} and missed ${missed[1]}\n`,
  );
}
