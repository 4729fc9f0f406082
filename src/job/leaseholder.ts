/** Who this process is, to others who look at its lease. */
import { createHash } from "node:crypto";
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { kill, pid } from "node:process";
import { toHex } from "../core/hex.ts";
import type { Leaseholder } from "../core/lease.ts";
import { systemCodeOf } from "../errors.ts";
import { readBootId } from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";

/** What stays with a machine. Clones often share the first, and seldom the second. */
const MACHINE_FACTS = ["/etc/machine-id", "/sys/class/dmi/id/product_uuid"];

/** @param lockFile Of the disk; this process has its lock. */
export function describeLeaseholder(context: JobContext, lockFile: string): Leaseholder {
  const { dev, ino } = statSync(lockFile);
  return describeProcess(context, `${dev}:${ino}`);
}

/** @param lockFile Names the lock that this process has on its machine; default: it has none. */
export function describeProcess(context: JobContext, lockFile = ""): Leaseholder {
  return {
    holder: toHex(context.random(16)),
    machine: machineDigest(),
    hostName: hostname(),
    bootId: readBootId(),
    lockFile,
    pid,
    process: readProcess("self").name,
  };
}

/**
 * True when a process of this machine and boot is known to be no more. Of one in another container
 * nobody here can tell, and a lease that it left ends by itself.
 */
export function hasProcessEnded(of: Pick<Leaseholder, "pid" | "process">): boolean {
  const isOurProc = readlinkSync("/proc/self") === String(pid);
  if (!isOurProc || !of.process.startsWith(`${pidNamespace()} `)) return false;
  try {
    kill(of.pid, 0);
    const { state, name } = readProcess(of.pid);
    return name !== of.process || state === "Z";
  } catch (error) {
    // Without ESRCH it may only be hidden.
    return systemCodeOf(error) === "ESRCH";
  }
}

/** @returns A name that no other process of this boot has, whatever pids they share. */
function readProcess(id: number | "self"): { state: string | undefined; name: string } {
  const stat = readFileSync(`/proc/${id}/stat`, "utf8");
  // The name of the program, in parentheses, may hold anything. Then: state, ..., ticks at the start.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0], name: `${pidNamespace()} ${fields[19]}` };
}

function pidNamespace(): string {
  return readlinkSync("/proc/self/ns/pid");
}

/** A digest: systemd asks that the machine id itself be told to nobody. */
function machineDigest(): string {
  const facts = MACHINE_FACTS.map(readIfThere).join("\0");
  return createHash("sha256").update(`ibackup lease\0${facts}`).digest("hex").slice(0, 32);
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    // A container or a small VM may have neither, and without root the second is not for us.
    if (["ENOENT", "EACCES", "EIO", "ENODEV"].includes(systemCodeOf(error) ?? "")) return "";
    throw error;
  }
}
