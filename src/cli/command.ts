/** What every command has: a line that says what it is for, examples, exit statuses. */
import type { Settings } from "../config/settings.ts";
import { type ErrorCode, IbackupError } from "../errors.ts";
import type { JobContext, OpenContext } from "../job/context.ts";
import { Command, type CommandUnknownOpts } from "./commander.ts";
import { exitStatusHelp } from "./exit_statuses.ts";
import { valueHelp } from "./values.ts";

export interface Session {
  context: JobContext;
  settings: Settings;
  /** Reads the config file again. @throws IbackupError CONFIG. */
  loadSettings(): Settings;
  /** For a command that runs until it is ended. */
  machine: {
    openContext(settings: Settings): Promise<OpenContext>;
    onHangup(reload: () => void): void;
    writeError(text: string): Promise<void>;
  };
  /** For a command that has a result before it ends; it returns none then. */
  print(result: Result): Promise<void>;
  /** For a command that prints as it goes; most print their result instead. */
  writeLine(line: string): void;
}

/** What a command found or did. Printing it is the last thing that happens. */
export interface Result {
  /** The document that `--json` prints. */
  json: object;
  /** For standard output, without the last newline; empty for nothing. Not printed with `--json`. */
  text: string;
  /** For standard error. Not printed with `--json`. */
  note?: string;
  /** When the command ran through and has bad news: `compare` found a difference. */
  status?: ErrorCode;
}

/** Gives a command its context, prints its result, and clears up. */
export type Run = (
  action: (session: Session) => Promise<Result | undefined>,
  needs?: CommandNeeds,
) => Promise<void>;

export interface CommandNeeds {
  /** It opens what is sealed: whoever sits at a terminal is asked for the passphrase. */
  secret?: boolean;
}

/** Prints the result of a command that needs neither settings nor context. */
export type Print = (result: Result) => Promise<void>;

export interface CommandText {
  name: string;
  /** One line, without a full stop. */
  summary: string;
  /** What the summary leaves open: paragraphs. */
  details?: string;
  examples: readonly [string, string, ...string[]];
  /** Those that not every command has. */
  statuses: readonly ErrorCode[];
}

/** A command without options, arguments and action, with its help. */
export function newCommand(text: CommandText) {
  const { name, summary, details, examples, statuses } = text;
  const command = new Command(name).summary(summary);
  command.description(
    details === undefined ? sentenceOf(summary) : `${sentenceOf(summary)}\n\n${details}`,
  );
  const shown = examples.map((example) => `  ${example}`).join("\n");
  command.addHelpText("after", () =>
    ["", ...valueHelp(command), "Examples:", shown, "", exitStatusHelp(statuses)].join("\n"),
  );
  applyRules(command);
  rememberText(command, text);
  return command;
}

const TEXTS = new WeakMap<CommandUnknownOpts, CommandText>();

export function rememberText(command: CommandUnknownOpts, text: CommandText): void {
  TEXTS.set(command, text);
}

/** What a command was made of; undefined for those that commander makes itself. */
export function textOfCommand(command: CommandUnknownOpts): CommandText | undefined {
  return TEXTS.get(command);
}

export function sentenceOf(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}

/** Errors are thrown, not printed, and help shows the options that every command has. */
export function applyRules(command: CommandUnknownOpts): void {
  command.helpOption("-h, --help", "show this help");
  command.configureHelp({ showGlobalOptions: true, helpWidth: 100 });
  command.exitOverride((error) => {
    // Help and version are "errors" of status 0; no command at all asks for help.
    if (error.exitCode === 0 || error.code === "commander.help") throw error;
    throw usageError(command, error.message);
  });
}

/** The devices that a command works on: those named, else those of the config file. */
export function chooseDevices(named: readonly string[], settings: Settings): readonly string[] {
  const devices = named.length > 0 ? named : settings.disks;
  if (devices.length > 0) return [...new Set(devices)];
  throw new IbackupError("USAGE", "Cannot tell which disk is meant", {
    why: "no DEVICE was named, and the config file has no `disks`",
    fix: "name one, such as /dev/vda; `lsblk` shows them",
  });
}

/** @param message As commander words it: "error: unknown option '--jso'\n(Did you mean --json?)". */
function usageError(command: CommandUnknownOpts, message: string): IbackupError {
  const [reason = "", suggestion] = message.replace(/^error: /, "").split("\n");
  const line = commandLine(command);
  const help = `\`${line} --help\` shows what it takes`;
  return new IbackupError("USAGE", `Cannot understand the arguments of \`${line}\``, {
    why: reason,
    fix: suggestion === undefined ? help : `${suggestion.replace(/^\((.*)\)$/, "$1")} ${help}`,
  });
}

/** The program, whose tree a command stands in. */
export function rootOf(command: CommandUnknownOpts): CommandUnknownOpts {
  return command.parent === null ? command : rootOf(command.parent);
}

/** "ibackup track start" */
export function commandLine(command: CommandUnknownOpts): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${commandLine(parent)} ${command.name()}`;
}
