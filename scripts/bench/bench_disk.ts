/** Loop disks, and a place for them in memory, where no other disk is measured along. */
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pid } from "node:process";
import type { Machine } from "../../test/support/machine.ts";

/** A folder in memory that goes with the machine. */
export function memoryFolder(machine: Machine): string {
  const folder = mkdtempSync("/dev/shm/ibackup-bench-");
  machine.onClose(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A loop disk over a sparse file. */
export function makeLoopDisk(machine: Machine, path: string, sizeBytes: number): string {
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return machine.attach(path);
}

/** Keeps ibackup apart from one that tracks disks of this machine. */
export function environmentOf(folder: string): Record<string, string> {
  return {
    IBACKUP_REPO: `file://${join(folder, "repository")}`,
    IBACKUP_PIN_DIR: `/sys/fs/bpf/ibackup-bench-${pid}`,
  };
}
