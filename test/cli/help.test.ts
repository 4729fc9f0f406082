import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { runCli } from "./run_cli.ts";

const SRC = join(import.meta.dirname, "../../src");

const COMMANDS = [
  "",
  "init",
  "track",
  "track start",
  "track stop",
  "track status",
  "track watch",
  "flush",
  "list",
  "show",
  "restore",
  "verify",
  "compare",
  "prune",
  "gc",
  "copy",
  "rebase",
  "tag",
  "tag add",
  "tag remove",
  "protect",
  "unprotect",
  "key",
  "key list",
  "key add",
  "key remove",
  "key export",
  "key trust",
  "doctor",
];

describe("--help", () => {
  // To take over changed texts: `vitest run test/cli/help.test.ts --update`.
  test.each(COMMANDS)("of `ibackup %s` is what was agreed on", async (command) => {
    const words = command.split(" ").filter(Boolean);
    const { status, stdout, stderr } = runCli([...words, "--help"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const name = ["help", ...words].join("_");
    await expect(stdout).toMatchFileSnapshot(`__golden__/${name}.txt`);
  });

  test.each(COMMANDS.filter((command) => command !== "" && !command.includes(" ")))(
    "of %s is also shown by `help`",
    (command) => {
      expect(runCli(["help", command])).toEqual(runCli([command, "--help"]));
    },
  );

  test("of the program lists every exit status", () => {
    const { stdout } = runCli(["--help"]);
    const listed = [...stdout.matchAll(/^ {0,4}(\d+) {2}\S/gm)].map(([, status]) => Number(status));
    expect(listed).toEqual([0, ...Object.values(EXIT_STATUS)]);
  });

  test("is shown as an error when no command is named", () => {
    const help = runCli(["--help"]).stdout;
    expect(runCli([])).toEqual({ status: EXIT_STATUS.USAGE, stdout: "", stderr: help });
    expect(runCli(["track"]).status).toBe(EXIT_STATUS.USAGE);
  });
});

describe("--version", () => {
  test("prints the version of package.json, and nothing else", () => {
    const { version } = JSON.parse(readFileSync(join(SRC, "../package.json"), "utf8"));
    for (const flag of ["--version", "-V"]) {
      expect(runCli([flag])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
    }
  });

  test("loads no package but commander", () => {
    expect([...packagesOf(join(SRC, "main.ts"))].sort()).toEqual(["commander"]);
  });
});

/** Packages that a module loads at once: neither types nor dynamic imports. */
function packagesOf(path: string, seen = new Set<string>()): Set<string> {
  const found = new Set<string>();
  if (seen.has(path)) return found;
  seen.add(path);
  const statements = readFileSync(path, "utf8").matchAll(
    /^(?:import|export) (?!type)[^;]*? from "([^"]+)"/gm,
  );
  for (const [, name = ""] of statements) {
    if (name.endsWith(".ts")) {
      for (const each of packagesOf(resolve(dirname(path), name), seen)) found.add(each);
    } else if (!name.startsWith("node:") && !name.startsWith(".")) {
      found.add(name);
    }
  }
  return found;
}
