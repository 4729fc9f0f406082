/**
 * Reads the kernel's counters of the writes to a disk.
 *
 * They are kept for each CPU and added up one CPU after the other, so that a reading is not of one
 * instant. As each only grows, two sums are equal only if nothing was counted between the readings.
 * What is in flight is a difference, not a sum: what begins on a CPU that was looked at and ends on
 * one that was not makes it one too low. Then it has been counted as ended meanwhile: nothing was in
 * flight only where the counters before and after say the same. (Both readings have
 * to find nothing: which of the two lies between the counters depends on the kernel.)
 */
import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { type CounterReading, isStill, parseDiskStat } from "../core/write_counters.ts";
import { systemCodeOf } from "../errors.ts";

interface DeviceNumber {
  major: number;
  minor: number;
}

/** Long enough for a write that has begun to end, on all but the busiest disks. */
const QUIET_WAIT_MS = 200;

/**
 * @param device A disk or a partition. What is counted of a partition went by its own name.
 * @returns Undefined when the kernel does not count (queue/iostats is 0), or there is no such device.
 */
export function readWriteCounters(device: DeviceNumber): CounterReading | undefined {
  const folder = folderOf(device);
  if (folder === undefined) return undefined;
  const whole = readText(join(folder, "partition")) === undefined ? folder : dirname(folder);
  if (readText(join(whole, "queue/iostats"))?.trim() !== "1") return undefined;
  const reading = parseDiskStat(readText(join(folder, "stat")) ?? "");
  const backingFile = backingFileOf(whole);
  if (reading === undefined || backingFile === undefined) return reading;
  return { ...reading, counters: { ...reading.counters, backingFile } };
}

/**
 * The counters at a moment with nothing in flight, waiting a little for one.
 *
 * @returns `isQuiet` false: there was no such moment, and the counters are those of the first look.
 */
export async function readQuietCounters(
  device: DeviceNumber,
): Promise<(CounterReading & { isQuiet: boolean }) | undefined> {
  const first = readWriteCounters(device);
  if (first === undefined) return undefined;
  for (let waitedMs = 0; waitedMs < QUIET_WAIT_MS; waitedMs++) {
    const before = readWriteCounters(device);
    const after = readWriteCounters(device);
    if (before && after && isStill(before, after)) return { ...after, isQuiet: true };
    await delay(1);
  }
  return { ...first, isQuiet: false };
}

/** A loop disk's file tells of every write to it, also of those that its kernel does not count. */
function backingFileOf(folder: string): string | undefined {
  const path = readText(join(folder, "loop/backing_file"))?.replace(/\n$/, "");
  if (path === undefined) return undefined;
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined) return `${path} is not there`;
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
}

function folderOf({ major, minor }: DeviceNumber): string | undefined {
  try {
    return realpathSync(`/sys/dev/block/${major}:${minor}`);
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "ENODEV", "ENXIO", "ENOTDIR"].includes(systemCodeOf(error) ?? "")) {
      return undefined;
    }
    throw error;
  }
}
