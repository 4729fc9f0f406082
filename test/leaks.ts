/**
 * Says what a test run left behind in the kernel: loop devices, mounts, BPF pins.
 *
 * The report goes to dist/test_leaks.txt as well. `scripts/test_summary.ts` fails the run for it in
 * CI, where the run is alone on the machine; elsewhere others may have made what appeared meanwhile.
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { stderr } from "node:process";

type Traces = ReadonlySet<string>;

function loopDevices(): string[] {
  const { stdout } = spawnSync(
    "losetup",
    ["--list", "--noheadings", "--output", "NAME,BACK-FILE"],
    {
      encoding: "utf8",
    },
  );
  return (stdout ?? "").split("\n").filter((line) => line !== "");
}

function mounts(): string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => line.split(" ")[4] ?? "")
    .filter((path) => path !== "");
}

function pins(): string[] {
  try {
    return readdirSync("/sys/fs/bpf");
  } catch {
    return [];
  }
}

function traces(): Traces {
  return new Set([
    ...loopDevices().map((name) => `loop device ${name}`),
    ...mounts().map((path) => `mount ${path}`),
    ...pins().map((name) => `pin /sys/fs/bpf/${name}`),
  ]);
}

/** Called once before all tests; what it returns is called once after them. */
export function setup(): () => void {
  const before = traces();
  return () => {
    const left = [...traces()].filter((trace) => !before.has(trace)).sort();
    mkdirSync("dist", { recursive: true });
    writeFileSync("dist/test_leaks.txt", left.map((trace) => `${trace}\n`).join(""));
    if (left.length > 0) stderr.write(`The test run left behind:\n  ${left.join("\n  ")}\n`);
  };
}
