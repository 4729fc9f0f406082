/** A writer that does not stop while something is switched under it: fio, and how fast it writes. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Until the writer has all its writes in flight and the disk has settled. */
const WARM_UP_MS = 2000;
const SECTORS_PER_WRITE = 8;

export interface RandomWrites {
  /** 4 KiB writes that ended, a second, from now on. */
  rate: (milliseconds: number) => Promise<number>;
  stop: () => Promise<void>;
}

/**
 * 4 KiB at random places of a file, with O_DIRECT; counted on the disk it is on.
 * @param jobs Threads that write: one of them alone is limited by its processor, not by a fast disk.
 * @param inFlight Writes of all of them.
 */
export async function startRandomWrites(
  file: string,
  { device, jobs, inFlight }: { device: string; jobs: 1 | 2; inFlight: number },
): Promise<RandomWrites> {
  const fio = spawn(
    "fio",
    [
      ...["--name=write", `--filename=${file}`, "--rw=randwrite", "--bs=4k", "--direct=1"],
      ...[
        "--ioengine=libaio",
        `--numjobs=${jobs}`,
        `--iodepth=${inFlight / jobs}`,
        "--norandommap",
        "--randrepeat=0",
      ],
      ...["--time_based", "--runtime=1d", "--output=/dev/null"],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const ended = once(fio, "close");
  await Promise.race([sleep(WARM_UP_MS), ended]);
  return {
    rate: async (milliseconds) => {
      const before = writesEnded(device);
      await sleep(milliseconds);
      const after = writesEnded(device);
      if (fio.exitCode !== null) throw new Error(`fio ended with status ${fio.exitCode}`);
      return ((after.count - before.count) / (after.at - before.at)) * 1000;
    },
    stop: async () => {
      fio.kill("SIGINT");
      await ended;
    },
  };
}

/** From the kernel's own count of sectors written, which needs no word with the writer. */
function writesEnded(device: string): { count: number; at: number } {
  const stat = readFileSync(`/sys/block/${basename(device)}/stat`, "utf8");
  const at = performance.now();
  return { count: Number(stat.trim().split(/\s+/)[6]) / SECTORS_PER_WRITE, at };
}
