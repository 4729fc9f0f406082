/** Kills ibackup, its helper or its watchdog right before the Nth thing that it does to the world. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Machine, run } from "./machine.ts";

export type Role = "flush" | "helper" | "watchdog";

export interface Traced {
  /** Of the command. 137: it was killed. */
  status: number | null;
  /** Those that were reached; the last one was not taken when it is the one that was asked for. */
  steps: string[];
  stderr: string;
}

export interface KillAt {
  role: Role;
  /** 0: nobody is killed. */
  step: number;
}

/** Runs a command to its end. What it started may live a moment longer. */
export async function runTraced(
  machine: Machine,
  { role, step }: KillAt,
  command: { program: string; args: string[]; env: Record<string, string> },
): Promise<Traced> {
  const report = machine.path("steps");
  const { program, args, env } = command;
  const child = spawn(stepKiller(machine), [role, String(step), report, program, ...args], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
    cwd: "/",
  });
  const stderr = textOf(child);
  const [status] = await once(child, "close");
  const steps = readFileSync(report, "utf8").trimEnd().split("\n");
  return { status, steps, stderr: stderr() };
}

/** Gathers what a process says on standard error. */
export function textOf(child: ChildProcess): () => string {
  const texts: string[] = [];
  child.stderr?.on("data", (text) => texts.push(String(text)));
  return () => texts.join("");
}

function stepKiller(machine: Machine): string {
  const program = machine.path("step_killer");
  if (!existsSync(program)) {
    run("gcc", "-std=c11", "-O2", "-o", program, join(import.meta.dirname, "step_killer.c"));
  }
  return program;
}
