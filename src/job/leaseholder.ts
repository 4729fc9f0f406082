/** Who this process is, to others who look at its lease. */
import { createHash } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { pid } from "node:process";
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
  return {
    holder: toHex(context.random(16)),
    machine: machineDigest(),
    hostName: hostname(),
    bootId: readBootId(),
    lockFile: `${dev}:${ino}`,
    pid,
  };
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
