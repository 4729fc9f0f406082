/**
 * Frozen file systems in tests. A process that writes to one hangs beyond SIGKILL until the thaw, so
 * only children write, and a thaw is arranged before anything is frozen.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "./machine.ts";

/** Longer than any flush of a test takes: what it freezes must not be thawed in the midst of it. */
const SAFETY_SECONDS = 300;

/**
 * Thaws the file systems when the machine closes, when this process ends, however it does, and at the
 * latest after five minutes. To be called after they were mounted: what is undone before is unmounted.
 *
 * @returns Thaws them now. A test that takes longer arranges the thaw of each freeze anew.
 */
export function arrangeThaw(machine: Machine, ...folders: string[]): () => Promise<void> {
  const thawAll = 'for folder; do fsfreeze --unfreeze "$folder" & done; wait';
  const script = `timeout ${SAFETY_SECONDS} cat >/dev/null; ${thawAll}`;
  const process = spawn("sh", ["-c", script, "sh", ...folders], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  process.unref();
  machine.onClose(() => process.stdin.end());
  const ended = once(process, "exit");
  return async () => {
    process.stdin.end();
    await ended;
  };
}

/** A write by a process of its own; what it tells is whether the file system is frozen. */
export class ProbeWrite {
  readonly #child: ChildProcess;
  readonly #startedAt = performance.now();
  readonly #ended: Promise<number>;

  constructor(folder: string, name = "probe", ...options: string[]) {
    const args = ["if=/dev/zero", `of=${join(folder, name)}`, "bs=4k", "count=1", ...options];
    this.#child = spawn("dd", args, { stdio: "ignore" });
    this.#ended = once(this.#child, "close").then(([status]) => {
      if (status !== 0) throw new Error(`dd: status ${status}`);
      return performance.now() - this.#startedAt;
    });
    // Whoever looks at it is told; until then it is no unhandled failure.
    this.#ended.catch(() => undefined);
  }

  get ended(): boolean {
    return this.#child.exitCode !== null;
  }

  /** Resolves when the write hangs in the kernel. Fails when it got through instead. */
  async hangs(): Promise<void> {
    for (;;) {
      if (this.ended) throw new Error("the write got through: nothing is frozen");
      if (waitsInKernel(this.#child.pid ?? 0)) return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves when the write got through, with the milliseconds since its start. */
  async through(limitMs: number): Promise<number> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`still frozen after ${limitMs} ms`)), limitMs);
    });
    try {
      return await Promise.race([this.#ended, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Whether a process sleeps where writers wait for the thaw. */
function waitsInKernel(pid: number): boolean {
  try {
    return /percpu_rwsem_wait|rwsem|freeze/.test(readFileSync(`/proc/${pid}/wchan`, "utf8"));
  } catch {
    return false;
  }
}

/** Whether a write gets through now. */
export async function isWritable(folder: string, limitMs = 1000): Promise<boolean> {
  try {
    await new ProbeWrite(folder).through(limitMs);
    return true;
  } catch {
    return false;
  }
}

/** Writes at random places of a file until the machine closes. */
export async function startWriter(machine: Machine, folder: string): Promise<void> {
  const file = join(folder, "written-at-random");
  const args = ["--name=writer", `--filename=${file}`, "--size=32m", "--bs=4k", "--rw=randwrite"];
  const writer = spawn(
    "fio",
    [...args, "--fsync=64", "--time_based", "--runtime=600", "--thread"],
    {
      stdio: "ignore",
    },
  );
  machine.onClose(() => {
    writer.kill("SIGKILL");
    // All its threads must be gone, or the file system is busy. It is not reaped while this runs.
    while (threadCountOf(writer.pid ?? 0) > 1);
  });
  await once(writer, "spawn");
}

function threadCountOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}
