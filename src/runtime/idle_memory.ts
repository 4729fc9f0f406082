/**
 * Gives memory back before a long time without work: what a job has left, and the pages of the
 * executable, most of which only a job needs. The kernel reads again what is needed again.
 */
import { readFileSync } from "node:fs";
import { execPath } from "node:process";

interface ForeignFunctions {
  dlopen(library: string, functions: object): { symbols: { madvise: Advise } };
}
type Advise = (address: bigint, length: bigint, advice: number) => number;

const MADV_PAGEOUT = 21;

let advise: Advise | undefined;

/** Where it cannot be done nothing happens. */
export async function giveBackMemory(): Promise<void> {
  const { Bun: bun } = globalThis as { Bun?: { gc(synchronously: boolean): void } };
  if (bun === undefined) return;
  bun.gc(true);
  try {
    advise ??= await openAdvise();
    for (const [start, length] of executablePages()) advise(start, length, MADV_PAGEOUT);
  } catch {
    // No glibc, or no right to make code.
  }
}

async function openAdvise(): Promise<Advise> {
  // Not a literal: type checkers of other runtimes do not know the module.
  const module = "bun:ffi";
  const { dlopen } = (await import(module)) as ForeignFunctions;
  const madvise = { args: ["u64", "u64", "i32"], returns: "i32" };
  return dlopen("libc.so.6", { madvise }).symbols.madvise;
}

/** Those that nobody can write to: address and length. */
function executablePages(): [bigint, bigint][] {
  const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
  return lines.flatMap((line): [bigint, bigint][] => {
    const match = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p/.exec(line);
    if (match === null || !line.endsWith(execPath)) return [];
    const [start, end] = [BigInt(`0x${match[1]}`), BigInt(`0x${match[2]}`)];
    return [[start, end - start]];
  });
}
