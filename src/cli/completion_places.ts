/** What can stand at the end of a command line, told from the commands' own declarations. */
import type { CommandUnknownOpts } from "./commander.ts";
import { placeholderOf } from "./values.ts";

type Option = CommandUnknownOpts["options"][number];
type Argument = CommandUnknownOpts["registeredArguments"][number];

export interface Candidate {
  value: string;
  description: string;
}

/** What only the machine or the repository knows. */
export type Wanted = "device" | "backup";

export interface Completion {
  /** What the commands themselves know, before they are held against the last word. */
  candidates: readonly Candidate[];
  wanted: readonly Wanted[];
  /** Stands before each value: "--consistency=". */
  prefix: string;
  /** The options of the whole program that the line holds: { repo: "file:///srv/backup" }. */
  options: Readonly<Record<string, string>>;
}

interface Place {
  program: CommandUnknownOpts;
  command: CommandUnknownOpts;
  argumentsSeen: number;
  /** Whose value the next word is, or may be. */
  option: Option | undefined;
  isValueNeeded: boolean;
  hasOptionsEnded: boolean;
  options: Record<string, string>;
}

/**
 * @param program The tree of all commands.
 * @param words Without the name of the program. The last one, which may be empty, is completed.
 */
export function completeWords(program: CommandUnknownOpts, words: readonly string[]): Completion {
  const place: Place = {
    program,
    command: program,
    argumentsSeen: 0,
    option: undefined,
    isValueNeeded: false,
    hasOptionsEnded: false,
    options: {},
  };
  for (const word of words.slice(0, -1)) pass(place, word);
  const { options } = place;
  return { prefix: "", options, ...candidatesAt(place, words.at(-1) ?? "") };
}

function pass(place: Place, word: string): void {
  const isFlag = word.startsWith("-") && word !== "-" && !place.hasOptionsEnded;
  if (place.option !== undefined && (place.isValueNeeded || !isFlag)) {
    place.options[place.option.attributeName()] = word;
    place.isValueNeeded = false;
    if (!place.option.variadic) place.option = undefined;
    return;
  }
  place.option = undefined;
  if (isFlag) passFlag(place, word);
  else passName(place, word);
}

function passName(place: Place, word: string): void {
  const child = visibleCommands(place.command).find((it) => it.name() === word);
  if (child !== undefined && place.argumentsSeen === 0) place.command = child;
  else place.argumentsSeen += 1;
}

function passFlag(place: Place, word: string): void {
  if (word === "--") {
    place.hasOptionsEnded = true;
    return;
  }
  const { flag, value } = splitFlag(word);
  const option = findOption(place.command, flag);
  if (option === undefined || placeholderOf(option.flags) === "") return;
  if (value !== undefined) {
    place.options[option.attributeName()] = value;
    return;
  }
  place.option = option;
  place.isValueNeeded = option.required;
}

type Found = Pick<Completion, "candidates" | "wanted"> & { prefix?: string };

function candidatesAt(place: Place, word: string): Found {
  const { command, option } = place;
  if (option !== undefined && place.isValueNeeded) return valuesOf(option);
  if (word.startsWith("-") && !place.hasOptionsEnded) {
    const { flag, value } = splitFlag(word);
    if (value === undefined) return { candidates: flagsOf(command), wanted: [] };
    const named = findOption(command, flag);
    return named === undefined ? NOTHING : { ...valuesOf(named), prefix: `${flag}=` };
  }
  const found = [option === undefined ? NOTHING : valuesOf(option), argumentsAt(place)];
  return {
    candidates: found.flatMap(({ candidates }) => candidates),
    wanted: found.flatMap(({ wanted }) => wanted),
  };
}

const NOTHING: Found = { candidates: [], wanted: [] };

function argumentsAt({ program, command, argumentsSeen }: Place): Found {
  const children = argumentsSeen === 0 ? visibleCommands(command).map(candidateOf) : [];
  const all = command.registeredArguments;
  const last = all.at(-1);
  const argument = all[argumentsSeen] ?? (last?.variadic ? last : undefined);
  if (argument === undefined) return { candidates: children, wanted: [] };
  const { candidates, wanted } = argumentValues(program, argument);
  return { candidates: [...children, ...candidates], wanted };
}

function argumentValues(program: CommandUnknownOpts, argument: Argument): Found {
  const name = argument.name();
  if (name === "command") {
    return { candidates: visibleCommands(program).map(candidateOf), wanted: [] };
  }
  return valuesFor(name, argument.argChoices);
}

function valuesOf(option: Option): Found {
  return valuesFor(placeholderOf(option.flags), option.argChoices);
}

function valuesFor(name: string, choices: readonly string[] | undefined): Found {
  if (name === "device") return { candidates: [], wanted: ["device"] };
  if (name === "backup") return { candidates: [LATEST], wanted: ["backup"] };
  return { candidates: choices?.map((value) => ({ value, description: "" })) ?? [], wanted: [] };
}

const LATEST = { value: "latest", description: "the newest backup" };

function candidateOf(command: CommandUnknownOpts): Candidate {
  return { value: command.name(), description: command.summary() || command.description() };
}

function flagsOf(command: CommandUnknownOpts): Candidate[] {
  return lineOf(command)
    .flatMap((each) => each.createHelp().visibleOptions(each))
    .map(({ long, short, description }) => ({ value: long ?? short ?? "", description }));
}

function findOption(command: CommandUnknownOpts, flag: string): Option | undefined {
  return lineOf(command)
    .flatMap(({ options }) => options)
    .find(({ long, short }) => flag === long || flag === short);
}

/** The command and those that it belongs to: their options can be given to it as well. */
function lineOf(command: CommandUnknownOpts): CommandUnknownOpts[] {
  return [command, ...(command.parent === null ? [] : lineOf(command.parent))];
}

function visibleCommands(command: CommandUnknownOpts): CommandUnknownOpts[] {
  return command.createHelp().visibleCommands(command);
}

/** "--wait=10m" is the flag "--wait" with the value "10m". */
function splitFlag(word: string): { flag: string; value: string | undefined } {
  const [, flag = word, value] = /^(--[^=]+)=(.*)$/s.exec(word) ?? [];
  return { flag, value };
}
