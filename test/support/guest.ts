/** A Debian kernel in QEMU, for what the kernel of this machine does not have. */
import { spawnSync } from "node:child_process";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "./machine.ts";

const GUEST = join(import.meta.dirname, "../../scripts/guest");
const FUNCTIONS = readFileSync(join(import.meta.dirname, "guest.sh"), "utf8");

export interface GuestOptions {
  kernel?: "6.1" | "5.10";
  /** An image for the root file system, /dev/vda; made when it is missing. Default: in memory. */
  root?: string;
  /** The first process, with `root`: it has to run `sh /run/main`. */
  init?: string;
  /** Raw images: the next of /dev/vda, /dev/vdb, and so on. */
  disks?: (string | LoggedDisk)[];
  /** Kernel modules beside those that every guest loads. */
  modules?: string[];
  /** Programs of this machine: /bin/NAME. */
  programs?: string[];
  /** Kills the guest when its script prints this line: status 137. */
  cutPowerLine?: string;
  timeLimitSeconds?: number;
}

/** A disk whose writes and flushes are kept in a log. */
export interface LoggedDisk {
  image: string;
  writeLog: string;
}

/** Runs a script, after guest.sh, in a guest to its end, or to the time limit. */
export function runGuest(machine: Machine, script: string, options: GuestOptions = {}) {
  const path = machine.path("guest.sh");
  writeFileSync(path, `${FUNCTIONS}\n${script}`);
  const { status, stdout, stderr, error } = spawnSync(GUEST, [...argumentsOf(options), path], {
    encoding: "utf8",
    maxBuffer: 64 << 20,
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

function argumentsOf(options: GuestOptions): string[] {
  const { kernel = "6.1", root, init, disks = [], modules = [], programs = [] } = options;
  const { cutPowerLine, timeLimitSeconds = 240 } = options;
  return [
    ...["--kernel", kernel, "--time-limit", String(timeLimitSeconds)],
    ...(root === undefined ? [] : ["--root", root]),
    ...(init === undefined ? [] : ["--init", init]),
    ...disks.flatMap((disk) =>
      typeof disk === "string"
        ? ["--disk", disk]
        : ["--disk", disk.image, "--write-log", disk.writeLog],
    ),
    ...modules.flatMap((module) => ["--module", module]),
    ...programs.flatMap((program) => ["--program", program]),
    ...(cutPowerLine === undefined ? [] : ["--cut-power", cutPowerLine]),
  ];
}

/** A sparse disk image for a guest. */
export function guestDisk(machine: Machine, name: string, sizeBytes: number): string {
  const path = machine.path(`${name}.img`);
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return path;
}

/** The JSON documents that a script has printed with `result NAME COMMAND...`, by name. */
export function resultsOf(output: string): Map<string, unknown> {
  const lines = output.matchAll(/^result (\S+) (.*)$/gm);
  return new Map([...lines].map(([, name = "", text = ""]) => [name, JSON.parse(text)]));
}
