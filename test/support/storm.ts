/** Programs that write to a mounted file system without pause, in every way that they can. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { kill } from "node:process";
import type { Machine } from "./machine.ts";

/** Names, lengths and contents change; a third of the files is synced. */
const CHURN = `
cd "$1"
mkdir -p churn
for ((i = 0; ; i++)); do
  name=churn/$((RANDOM % 60))
  head -c $((RANDOM * 3)) /dev/urandom > "$name.new"
  if ((i % 3 == 0)); then sync "$name.new"; fi
  mv "$name.new" "$name"
  echo "$i" >> churn/log
  if ((i % 5 == 0)); then rm -f "churn/$((RANDOM % 60))"; fi
  if ((i % 40 == 0)); then mkdir -p "churn/d$i"; mv "$name" "churn/d$i/"; rm -rf "churn/d$((i - 40))"; fi
done`;

export interface StormOptions {
  /** Of the files that are written at random. */
  fileMiB: number;
  /** 4 KiB writes a second; undefined: as many as there can be. */
  writesPerSecond?: number;
}

/**
 * Direct and mapped 4 KiB random writes, and files that are made, renamed, synced and removed.
 * They end with the machine, before the file system is unmounted.
 */
export class Storm {
  readonly #children: ChildProcess[] = [];
  readonly #endings: Promise<unknown>[] = [];

  constructor(machine: Machine, folder: string, options: StormOptions) {
    machine.onClose(() => this.#kill());
    const script = machine.path(`churn-${folder.split("/").at(-1)}`);
    writeFileSync(script, CHURN);
    this.#start("bash", script, folder);
    this.#start(
      "fio",
      ...fioArguments(folder, "direct", options),
      "--ioengine=libaio",
      "--direct=1",
    );
    this.#start("fio", ...fioArguments(folder, "mapped", options), "--ioengine=mmap", "--fsync=64");
  }

  /** Ends all of them and waits for that: nothing may be frozen. */
  async stop(): Promise<void> {
    this.#kill();
    await Promise.all(this.#endings);
  }

  #start(command: string, ...args: string[]): void {
    const child = spawn(command, args, { stdio: "ignore", detached: true, cwd: "/" });
    this.#children.push(child);
    this.#endings.push(once(child, "close"));
  }

  #kill(): void {
    for (const { pid, exitCode, signalCode } of this.#children) {
      if (pid !== undefined && exitCode === null && signalCode === null) kill(-pid, "SIGKILL");
    }
  }
}

function fioArguments(
  folder: string,
  name: string,
  { fileMiB, writesPerSecond }: StormOptions,
): string[] {
  return [
    ...[`--name=${name}`, `--filename=${join(folder, name)}`, `--size=${fileMiB}M`],
    ...["--rw=randwrite", "--bs=4k", "--iodepth=16", "--norandommap", "--randrepeat=0"],
    ...["--time_based", "--runtime=3600", "--thread"],
    ...(writesPerSecond === undefined ? [] : [`--rate_iops=${writesPerSecond}`]),
  ];
}
