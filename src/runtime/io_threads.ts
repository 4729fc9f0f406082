/**
 * How many file operations run at once.
 *
 * Bun gives them a pool with one thread for each processor, and a disk answers many more scattered
 * reads than that in the same time. The pool takes its size from the environment when it is made,
 * at the first operation, and changes of `process.env` do not reach it.
 */
import { env } from "node:process";

/** As libuv calls it. Bun takes it over. */
const VARIABLE = "UV_THREADPOOL_SIZE";
const THREADS = 16;

interface ForeignFunctions {
  dlopen(library: string, functions: object): { symbols: { setenv: SetEnvironment } };
  ptr(bytes: Uint8Array): unknown;
}
type SetEnvironment = (name: unknown, value: unknown, overwrite: number) => number;

/** To be called before the first file operation. Where it cannot be done reads are slower. */
export async function widenThreadPool(): Promise<void> {
  if (!("Bun" in globalThis) || env[VARIABLE] !== undefined) return;
  // Not a literal: type checkers of other runtimes do not know the module.
  const module = "bun:ffi";
  try {
    const { dlopen, ptr } = (await import(module)) as ForeignFunctions;
    const setenv = { args: ["ptr", "ptr", "i32"], returns: "i32" };
    const { symbols } = dlopen("libc.so.6", { setenv });
    symbols.setenv(ptr(cString(VARIABLE)), ptr(cString(`${THREADS}`)), 1);
  } catch {
    // No glibc, or no right to make code: the pool stays as it is.
  }
}

function cString(text: string): Uint8Array {
  return new TextEncoder().encode(`${text}\0`);
}
