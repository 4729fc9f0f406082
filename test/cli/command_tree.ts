/** The tree of all commands, as the program builds it. */
import process from "node:process";
import type { CommandUnknownOpts } from "../../src/cli/commander.ts";
import { buildProgram, runProgram } from "../../src/cli/program.ts";
import type { Ended } from "./run_cli.ts";

const never = () => Promise.reject(new Error("no command is run here"));

export const PROGRAM = buildProgram({
  version: "0.0.0",
  run: never,
  print: never,
  startShell: never,
}) as unknown as CommandUnknownOpts;

/** Every command that users see, the program itself first: [["track start", command], ...]. */
export const COMMANDS: [name: string, command: CommandUnknownOpts][] = walk(PROGRAM, []);

function walk(command: CommandUnknownOpts, names: string[]): [string, CommandUnknownOpts][] {
  const children = command.commands.filter((child) => !child.name().startsWith("__"));
  return [
    [names.join(" "), command],
    ...children.flatMap((child) => walk(child, [...names, child.name()])),
  ];
}

/** Runs a command that needs no machine, in this process. */
export async function runHere(args: readonly string[], version = "0.0.0"): Promise<Ended> {
  let stdout = "";
  let stderr = "";
  const status = await runProgram(args, {
    version,
    environment: {},
    writeOut: async (text) => {
      stdout += text;
    },
    writeError: async (text) => {
      stderr += text;
    },
    openContext: never,
    terminal: {
      input: process.stdin,
      output: process.stdout,
      interrupt: () => undefined,
      renewInterruption: () => new AbortController().signal,
      setVariable: () => undefined,
    },
    onHangup: () => undefined,
  });
  return { status, stdout, stderr };
}
