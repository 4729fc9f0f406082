/** Manual pages in the macros of man(7), from the declarations of the commands. */

import { assert } from "../errors.ts";
import { commandLine, sentenceOf, textOfCommand } from "./command.ts";
import type { CommandUnknownOpts } from "./commander.ts";
import { exitStatuses } from "./exit_statuses.ts";
import { valuesOf } from "./values.ts";

export interface ManPage {
  /** "ibackup-track-start.8" */
  fileName: string;
  text: string;
}

const SECTION = 8;

/** @returns One page for the program and one for each command, with those of its subcommands. */
export function manPages(command: CommandUnknownOpts, version: string): ManPage[] {
  const children = command.commands.filter((child) => textOfCommand(child) !== undefined);
  return [
    { fileName: `${pageName(command)}.${SECTION}`, text: pageOf(command, version) },
    ...children.flatMap((child) => manPages(child, version)),
  ];
}

function pageOf(command: CommandUnknownOpts, version: string): string {
  const name = pageName(command);
  const text = textOfCommand(command);
  assert(text !== undefined, "every command has a text");
  const { summary, details, examples, statuses } = text;
  const isProgram = command.parent === null;
  const sections: [title: string, lines: string[]][] = [
    ["NAME", [`${escapeText(name)} \\- ${escapeText(summary)}`]],
    ["SYNOPSIS", [`.B ${escapeText(commandLine(command))}`, escapeText(command.usage())]],
    [
      "DESCRIPTION",
      paragraphs(sentenceOf(summary) + (details === undefined ? "" : `\n\n${details}`)),
    ],
    ["ARGUMENTS", command.registeredArguments.flatMap((it) => item(it.name(), it.description))],
    ["OPTIONS", optionsOf(command)],
    ["COMMANDS", childrenOf(command)],
    ["VALUES", valuesOf(command).flatMap(([name, meaning]) => item(name, meaning))],
    ["EXAMPLES", [".nf", ...examples.map(escapeText), ".fi"]],
    ["EXIT STATUS", exitStatuses(statuses).flatMap(([code, why]) => item(code, why))],
    ["ENVIRONMENT", isProgram ? VARIABLES.flatMap(([it, why]) => item(it, why)) : []],
    ["FILES", isProgram ? FILES.flatMap(([path, why]) => item(path, why)) : []],
    ["SEE ALSO", seeAlso(command)],
  ];
  const body = sections
    .filter(([, lines]) => lines.length > 0)
    .map(([title, lines]) => [`.SH ${title}`, ...lines].join("\n"));
  const head = `.TH ${name.toUpperCase().replaceAll("-", "\\-")} ${SECTION} "" "ibackup ${version}" "System Administration"`;
  // No hyphenation, no justification: names of options stay whole.
  return `${[head, ".nh", ".ad l", ...body].join("\n")}\n`;
}

function pageName(command: CommandUnknownOpts): string {
  return commandLine(command).replaceAll(" ", "-");
}

function optionsOf(command: CommandUnknownOpts): string[] {
  const help = command.createHelp();
  const own = help.visibleOptions(command);
  const lines = own.flatMap((option) => item(option.flags, help.optionDescription(option)));
  if (command.parent === null) return lines;
  return [...lines, ".PP", "The options of", ".BR ibackup (8)", "can be given too."];
}

function childrenOf(command: CommandUnknownOpts): string[] {
  const children = command.commands.filter((child) => textOfCommand(child) !== undefined);
  return children.flatMap((child) => [
    ".TP",
    `.BR ${escapeText(pageName(child))} (${SECTION})`,
    escapeText(child.summary()),
  ]);
}

function seeAlso(command: CommandUnknownOpts): string[] {
  const { parent } = command;
  return parent === null ? [] : [`.BR ${escapeText(pageName(parent))} (${SECTION})`];
}

/** Lines are those of the page's width; a blank line parts paragraphs. */
function paragraphs(text: string): string[] {
  return text.split("\n\n").flatMap((paragraph, index) => {
    const lines = paragraph.split("\n").map(escapeText);
    const shown = /\n /.test(paragraph) ? [".nf", ...lines, ".fi"] : lines;
    return index === 0 ? shown : [".PP", ...shown];
  });
}

function item(term: string, text: string): string[] {
  return [".TP", `.B ${escapeText(term)}`, escapeText(text)];
}

/** A hyphen that is typed, not one that joins words; no line begins with what roff takes for a request. */
function escapeText(text: string): string {
  return text
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("`", "\\(ga")
    .replaceAll("'", "\\(aq")
    .replaceAll('"', "\\(dq")
    .replace(/^([.])/, "\\&$1");
}

const VARIABLES = [
  ["IBACKUP_REPO", "the repository, where --repo is not given"],
  ["IBACKUP_IDENTITY_FILE", "as --identity-file"],
  ["IBACKUP_PASSPHRASE_FILE", "as --passphrase-file"],
  [
    "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE...",
    "credentials, as the AWS SDK takes them",
  ],
] as const;

const FILES = [
  ["/etc/ibackup/config.toml", "settings"],
  [
    "/var/lib/ibackup",
    "what this machine must not forget: its signing key, the keys that it trusts",
  ],
  ["/var/cache/ibackup", "digests; can be deleted at any time"],
] as const;
