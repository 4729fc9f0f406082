/** ibackup as a process: from its source, or the binary that IBACKUP_BIN names. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { SCHEMA_VERSION } from "../../src/cli/program.ts";

const MAIN = join(import.meta.dirname, "../../src/main.ts");

export const CLI: readonly [string, ...string[]] =
  env["IBACKUP_BIN"] === undefined ? [execPath, MAIN] : [env["IBACKUP_BIN"]];

/** What one test has listed is not offered to the next, nor to the user of this machine. */
const NO_CACHE = { IBACKUP_CACHE_DIR: "/nonexistent/cache" };

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

/** @param settings Environment; nothing else is inherited but PATH. */
export function runCli(args: readonly string[], settings: Record<string, string> = {}): Ended {
  const [program, ...first] = CLI;
  const { status, stdout, stderr, error } = spawnSync(program, [...first, ...args], {
    encoding: "utf8",
    cwd: "/",
    env: { PATH: env["PATH"] ?? "", HOME: "/nonexistent", ...NO_CACHE, ...settings },
  });
  if (error) throw error;
  return { status, stdout, stderr };
}

/** The one document on standard output, without its version: anything else there makes this throw. */
export function jsonOf({ stdout }: Ended): Record<string, unknown> {
  const { schemaVersion, ...document } = JSON.parse(stdout) as Record<string, unknown>;
  if (schemaVersion !== SCHEMA_VERSION)
    throw new Error(`version ${String(schemaVersion)}: ${stdout}`);
  return document;
}
