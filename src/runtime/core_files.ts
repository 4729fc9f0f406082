import { writeFileSync } from "node:fs";

/** From now on a core file of this process holds none of its memory: there are secrets in it. */
export function keepOutOfCoreFiles(): void {
  try {
    writeFileSync("/proc/self/coredump_filter", "0");
  } catch {
    // A kernel that writes no core files has no such file.
  }
}
