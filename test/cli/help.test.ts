import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { placeholderOf } from "../../src/cli/values.ts";
import { EXIT_STATUS } from "../../src/errors.ts";
import { COMMANDS, runHere } from "./command_tree.ts";
import { runCli } from "./run_cli.ts";

const SRC = join(import.meta.dirname, "../../src");

/** What the values of options are called: with a unit, or with a word that says it all. */
const PLACEHOLDERS = [
  ...["backup", "command", "count", "days", "device", "duration", "file", "folder", "id", "key"],
  ...["least", "name", "path", "port", "rate", "share", "tag", "text", "time", "url"],
];

describe("--help", () => {
  // To take over changed texts: `vitest run test/cli/help.test.ts --update`.
  test.each(COMMANDS)("of `ibackup %s` is what was agreed on", async (name) => {
    const words = name.split(" ").filter(Boolean);
    const { status, stdout, stderr } = await runHere([...words, "--help"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    await expect(stdout).toMatchFileSnapshot(`__golden__/${["help", ...words].join("_")}.txt`);
  });

  test("has a golden for no other command", () => {
    const golden = COMMANDS.map(([name]) => `${["help", ...name.split(" ")].join("_")}.txt`);
    const files = readdirSync(join(import.meta.dirname, "__golden__"));
    expect(files.filter((it) => it.startsWith("help")).sort()).toEqual(
      golden.map((it) => it.replace("help_.txt", "help.txt")).sort(),
    );
  });

  test.each(COMMANDS)("of `ibackup %s` has a purpose, examples and exit statuses", async (name) => {
    const { stdout } = await runHere([...name.split(" ").filter(Boolean), "--help"]);
    const line = `ibackup ${name}`.trim();
    expect(stdout).toMatch(/^Usage: .+\n\n[A-Z][^\n]+\.\n/);
    expect(stdout.match(new RegExp(`^ {2}.*${line}`, "gm"))?.length).toBeGreaterThanOrEqual(2);
    expect(stdout).toMatch(
      /\nExit status:\n {4}0 {2}done\n[\s\S]+\n {2}130 {2}interrupted by a signal\n$/,
    );
  });

  const options = COMMANDS.flatMap(([name, command]) =>
    command.options.map((option): [string, typeof option] => [
      `${name} ${option.flags}`.trim(),
      option,
    ]),
  );

  test.each(options)(
    "says of `%s` what it is, in which unit, and what holds without it",
    (_, it) => {
      expect(it.description).not.toBe("");
      const placeholder = placeholderOf(it.flags);
      if (placeholder !== "") expect(PLACEHOLDERS).toContain(placeholder);
      // Policies and simulations do not exist until they are asked for.
      const hasNone = /^--(keep-|simulate)/.test(it.flags) || it.mandatory;
      if (hasNone || !["count", "days", "duration", "least", "port", "rate"].includes(placeholder))
        return;
      expect(`${it.description} ${it.defaultValue ? "(default: " : ""}`).toContain("(default: ");
    },
  );

  test("is also shown by `help`", async () => {
    expect(await runHere(["help", "flush"])).toEqual(await runHere(["flush", "--help"]));
    expect(runCli(["help", "list"])).toEqual(runCli(["list", "--help"]));
  });

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
