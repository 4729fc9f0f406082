/** The command line as a whole: parse, run one command, print, and say the exit status. */
import { DEFAULT_CONFIG_FILE } from "../config/default_file.ts";
import type { GlobalOptions, Settings } from "../config/settings.ts";
import { EXIT_STATUS, errorDocument, IbackupError } from "../errors.ts";
import {
  applyRules,
  type CommandNeeds,
  type CommandText,
  type Print,
  type Result,
  type Run,
  rememberText,
  sentenceOf,
} from "./command.ts";
import { Command, type CommandUnknownOpts, type OutputConfiguration } from "./commander.ts";
import { compareCommand } from "./compare.ts";
import { completeCommand, completionCommand } from "./completion.ts";
import { configCommand } from "./config.ts";
import { copyCommand } from "./copy.ts";
import { daemonCommand } from "./daemon.ts";
import { doctorCommand } from "./doctor.ts";
import { ALL_STATUSES, exitStatusHelp } from "./exit_statuses.ts";
import { flushCommand } from "./flush.ts";
import { gcCommand } from "./gc.ts";
import { initCommand } from "./init.ts";
import { installCommand, uninstallCommand } from "./install.ts";
import { keyCommand } from "./key.ts";
import { listCommand } from "./list.ts";
import type { Machine } from "./machine.ts";
import { manCommand } from "./man.ts";
import { metricsCommand } from "./metrics.ts";
import { pruneCommand } from "./prune.ts";
import { rebaseCommand } from "./rebase.ts";
import { protectCommand, tagCommand, unprotectCommand } from "./remarks.ts";
import { renderError } from "./render_error.ts";
import { restoreCommand } from "./restore.ts";
import { shellCommand } from "./shell.ts";
import { showCommand } from "./show.ts";
import { statusCommand } from "./status.ts";
import { printable } from "./text.ts";
import { trackCommand } from "./track.ts";
import { uiCommand } from "./ui.ts";
import { verifyCommand } from "./verify.ts";

/**
 * Runs the command that the arguments name.
 *
 * @param args Without the names of the runtime and of the program.
 * @returns The exit status. Every failure has been told.
 */
export async function runProgram(args: readonly string[], machine: Machine): Promise<number> {
  const pending: Promise<void>[] = [];
  let status = 0;
  const print: Print = async (result) => {
    await printResult(machine, result, program.opts());
    if (result.status !== undefined) status = EXIT_STATUS[result.status];
  };
  const run: Run = async (action, needs) => {
    const result = await runAction(machine, program.opts(), { action, print, ...needs });
    if (result !== undefined) await print(result);
  };
  const startShell = () => openShell(machine, program.opts());
  const program = buildProgram({ version: machine.version, run, print, startShell });
  writeThrough(program, {
    writeOut: (text) => pending.push(machine.writeOut(text)),
    writeErr: (text) => pending.push(machine.writeError(text)),
    outputError: () => undefined,
  });
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    // Commander throws to end a run that has shown its help or version.
    const isHelp = !(error instanceof IbackupError) && isCommanderError(error);
    status = isHelp ? helpStatus(error) : await tellError(machine, error, isJson(args, program));
  }
  await Promise.all(pending);
  return status;
}

interface Doing {
  version: string;
  run: Run;
  print: Print;
  startShell(): Promise<void>;
}

/** The tree of all commands. */
export function buildProgram({ version, run, print, startShell }: Doing) {
  const { name, summary, details, examples, statuses } = PROGRAM;
  const program = new Command(name)
    .description(sentenceOf(summary))
    .version(version, "-V, --version", "print the version")
    .helpCommand("help [command]", "show the help of a command")
    .option("--repo <url>", "repository: file:///path or s3://bucket/prefix (or IBACKUP_REPO)")
    .option(
      "--config <file>",
      `config file in TOML (default: ${DEFAULT_CONFIG_FILE}, if it exists)`,
    )
    .option(
      "--vm <id>",
      "VM of new backups (default: /etc/machine-id, else the host name); elsewhere, only backups of it",
    )
    .option("--identity-file <file>", "age identity that opens backups (or IBACKUP_IDENTITY_FILE)")
    .option(
      "--passphrase-file <file>",
      "its first line is a passphrase that opens backups (or IBACKUP_PASSPHRASE_FILE)",
    )
    .option(
      "--upload-limit <rate>",
      "send no more than this to the store, such as 10MiB/s (default: no limit)",
    )
    .option("--json", "print exactly one JSON document on standard output")
    .addHelpText("after", `\n${details}\n\nExamples:\n  ${examples.join("\n  ")}\n`)
    .addHelpText("after", exitStatusHelp(statuses));
  applyRules(program);
  rememberText(program, PROGRAM);
  for (const make of COMMANDS) program.addCommand(make(run, print));
  program.addCommand(shellCommand(startShell));
  program.addCommand(completeCommand(run, print), { hidden: true });
  return program;
}

const COMMANDS: readonly ((run: Run, print: Print) => CommandUnknownOpts)[] = [
  initCommand,
  trackCommand,
  flushCommand,
  listCommand,
  showCommand,
  restoreCommand,
  verifyCommand,
  compareCommand,
  pruneCommand,
  gcCommand,
  copyCommand,
  rebaseCommand,
  tagCommand,
  protectCommand,
  unprotectCommand,
  keyCommand,
  daemonCommand,
  statusCommand,
  uiCommand,
  metricsCommand,
  configCommand,
  doctorCommand,
  installCommand,
  uninstallCommand,
  completionCommand,
  manCommand,
];

const PROGRAM = {
  name: "ibackup",
  summary: "incremental block-level backup of a running Linux VM, in one binary",
  details: `Repository URLs:
  file:///srv/backup
  s3://bucket/prefix?endpoint=https://host:port&region=REGION&path-style=true
  AWS credentials come from the environment, ~/.aws, or the machine's role, never from arguments.

Config file:
  repo = "file:///srv/backup"
  vm = "web-1"
  disks = ["/dev/vda"]
  Arguments go before the environment, and the environment before the file. Only root, or the user
  who runs ibackup, may be able to write it.`,
  examples: [
    "ibackup doctor --repo file:///srv/backup",
    "ibackup track start /dev/vda && ibackup flush /dev/vda --repo file:///srv/backup",
  ],
  statuses: ALL_STATUSES,
} satisfies CommandText;

async function openShell(machine: Machine, options: GlobalOptions): Promise<void> {
  if (options.json) {
    throw new IbackupError("USAGE", "Cannot print a dialogue as JSON", {
      why: "--json was given",
      fix: "leave it out, or run the single commands with it",
    });
  }
  const { resolveSettings } = await import("../config/settings.ts");
  const { runShell } = await import("./shell_session.ts");
  const settings = resolveSettings(options, machine.environment);
  const { config, vm } = options;
  const common = [
    ...(config === undefined ? [] : ["--config", config]),
    ...(vm === undefined ? [] : ["--vm", vm]),
  ];
  await runShell({ machine, settings, runProgram, common });
}

async function runAction(
  machine: Machine,
  options: GlobalOptions,
  { action, print, secret = false }: { action: Parameters<Run>[0]; print: Print } & CommandNeeds,
): Promise<Result | undefined> {
  const { resolveSettings } = await import("../config/settings.ts");
  const loadSettings = (): Settings => resolveSettings(options, machine.environment);
  const settings = loadSettings();
  const { context, close } = await machine.openContext(settings);
  try {
    if (secret) await (await import("../job/ask_secret.ts")).askForSecret(context);
    return await action({
      context,
      settings,
      loadSettings,
      machine,
      print,
      writeLine: (line) => void machine.writeOut(`${line}\n`),
    });
  } catch (error) {
    // Whatever failed because the user interrupted, it was the user.
    throw context.signal.aborted ? context.signal.reason : error;
  } finally {
    context.progress.end();
    await close();
  }
}

async function printResult(
  machine: Machine,
  { json, text, note = "" }: Result,
  options: GlobalOptions,
): Promise<void> {
  if (options.json) return machine.writeOut(documentText(json));
  if (text !== "") await machine.writeOut(`${printable(text)}\n`);
  if (note !== "") await machine.writeError(`${printable(note)}\n`);
}

/** Of all documents. Raised when a field goes or comes to mean something else (docs/JSON.md). */
export const SCHEMA_VERSION = 1;

function documentText(document: object): string {
  return `${JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document }, null, 2)}\n`;
}

async function tellError(machine: Machine, error: unknown, json: boolean): Promise<number> {
  if (json) await machine.writeOut(documentText(errorDocument(error)));
  await machine.writeError(printable(renderError(error, machine.version)));
  return EXIT_STATUS[error instanceof IbackupError ? error.code : "INTERNAL"];
}

/** Help that was asked for is success; help because no command was named is not. */
function helpStatus({ exitCode }: { exitCode: number }): number {
  return exitCode === 0 ? 0 : EXIT_STATUS.USAGE;
}

function isCommanderError(error: unknown): error is { code: string; exitCode: number } {
  const { code } = error as { code?: unknown };
  return typeof code === "string" && code.startsWith("commander.");
}

/** Arguments that were not understood may not have been parsed up to `--json`. */
function isJson(args: readonly string[], program: { opts(): GlobalOptions }): boolean {
  return program.opts().json === true || args.includes("--json");
}

function writeThrough(command: CommandUnknownOpts, outputs: OutputConfiguration): void {
  command.configureOutput(outputs);
  for (const child of command.commands) writeThrough(child, outputs);
}
