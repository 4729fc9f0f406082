/** ibackup as its users run it: a process with arguments. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import type { Machine } from "./machine.ts";

const ROOT = join(import.meta.dirname, "../..");

/** The binary that was built; IBACKUP_BIN names another. */
export const PROGRAM = env["IBACKUP_BIN"] ?? join(ROOT, "dist/ibackup");

export interface Outcome {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface ProgramOptions {
  env?: Record<string, string>;
  input?: string;
  cwd?: string;
}

/** Runs ibackup to its end, with the runtime folder of a machine of its own. */
export function ibackup(machine: Machine, args: string[], options: ProgramOptions = {}): Outcome {
  const { status, stdout, stderr, error } = spawnSync(PROGRAM, args, {
    encoding: "utf8",
    maxBuffer: 256 << 20,
    cwd: options.cwd ?? "/",
    env: environmentOf(machine, options),
    ...(options.input === undefined ? {} : { input: options.input }),
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** Runs ibackup with --json; it must succeed. */
export function ibackupJson<T>(machine: Machine, args: string[], options: ProgramOptions = {}): T {
  const outcome = ibackup(machine, [...args, "--json"], options);
  if (outcome.status !== 0) {
    throw new Error(`ibackup ${args.join(" ")}: status ${outcome.status}\n${outcome.stderr}`);
  }
  return JSON.parse(outcome.stdout) as T;
}

/** Starts ibackup and leaves it running. */
export function startIbackup(
  machine: Machine,
  args: string[],
  options: ProgramOptions = {},
): ChildProcess {
  return spawn(PROGRAM, args, {
    cwd: options.cwd ?? "/",
    env: environmentOf(machine, options),
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function environmentOf(machine: Machine, options: ProgramOptions): Record<string, string> {
  return {
    PATH: env["PATH"] ?? "/usr/sbin:/usr/bin:/sbin:/bin",
    HOME: machine.folder,
    ...machine.environment,
    ...options.env,
  };
}

/** What `flush --json` prints, as far as tests look at it. */
export interface Flushed {
  backupId: string;
  type: "base" | "incremental";
  parentId: string | null;
  gapCheck: { verdict: "base" | "trusted" | "compared"; reason: string };
  consistency: "frozen" | "quiet" | "fuzzy";
  blocksChanged: number;
  bytesRead: number;
  bytesStored: number;
  passes: number;
  freezeMs: number | null;
  fileSystems: { mountpoint: string; fileSystem: string; outcome: string }[];
  durationMs: number;
  taints: { reason: string; count: number }[];
}

if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: run \`npm run build\` first`);
