/** Processes as /proc tells of them. One that has ended has no children and no command. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { kill } from "node:process";

export function childrenOf(parent: number): number[] {
  try {
    const tasks = readdirSync(`/proc/${parent}/task`);
    const lists = tasks.map((it) => readFileSync(`/proc/${parent}/task/${it}/children`, "utf8"));
    return lists.flatMap((list) => list.split(" ").filter(Boolean).map(Number));
  } catch {
    return [];
  }
}

/** Its words, with a space between them. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** Most memory that it has had resident so far, in bytes; 0 when it has ended. */
export function peakBytesOf(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB/m.exec(status) ?? [];
    return Number(kibibytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** The sum of the peaks of a process and of those that it has started. */
export function peakBytesOfTree(pid: number): number {
  // Between fork and exec a child has its parent's memory: it would count twice.
  const others = childrenOf(pid).filter((child) => programOf(child) !== programOf(pid));
  return others.reduce((sum, child) => sum + peakBytesOfTree(child), peakBytesOf(pid));
}

function programOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return "";
  }
}

/** It may have ended by itself. */
export function signal(pid: number, name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
  try {
    kill(pid, name);
  } catch (error) {
    if ((error as { code?: string }).code !== "ESRCH") throw error;
  }
}
