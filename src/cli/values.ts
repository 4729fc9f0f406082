/** How the values of options are written: what stands for them in `<...>` is the same everywhere. */
import type { CommandUnknownOpts } from "./commander.ts";

const VALUES: Readonly<Record<string, string>> = {
  duration: "a number and its unit, ms, s, m, h or d: 500ms, 10s, 1.5h, 30d",
  share: "a percentage: 5%",
  time: "date and time with a zone (RFC 3339): 2026-11-22T17:01:02Z",
};

/** How the values that the options of a command take are written, as far as that needs words. */
export function valuesOf(command: CommandUnknownOpts): [placeholder: string, text: string][] {
  const names = new Set(command.options.map(({ flags }) => placeholderOf(flags)));
  return Object.entries(VALUES)
    .filter(([name]) => names.has(name))
    .map(([name, text]) => [`<${name}>`, text]);
}

/** Lines of a help text: none where there is nothing to say. */
export function valueHelp(command: CommandUnknownOpts): string[] {
  const lines = valuesOf(command).map(([name, text]) => `  ${name}  ${text}`);
  return lines.length === 0 ? [] : ["Values:", ...lines, ""];
}

/** What stands for the value in flags such as "--wait [duration]": "duration". Empty: it has none. */
export function placeholderOf(flags: string): string {
  return /[<[]([^>\].]+)/.exec(flags)?.[1] ?? "";
}
