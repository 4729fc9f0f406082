/** Completion of the command line in shells, from the declarations of the commands. */

import { newCommand, type Print, type Run, rootOf, type Session } from "./command.ts";
import { Argument, Command } from "./commander.ts";
import { type Candidate, type Completion, completeWords } from "./completion_places.ts";
import { COMPLETION_SCRIPTS } from "./completion_scripts.ts";
import { splitUnfinished } from "./words.ts";

export function completionCommand(_: Run, print: Print) {
  return newCommand({
    name: "completion",
    summary: "print the script that lets a shell complete ibackup's command lines",
    details: [
      "Completes commands, options, devices of this machine, and ids of backups: those of the repository",
      "where it answers within a second and a half, else those that were there when `list` was run last.",
      'With --json: {"shell", "script"}.',
    ].join("\n"),
    examples: [
      "ibackup completion bash > /etc/bash_completion.d/ibackup",
      "ibackup completion zsh > /usr/local/share/zsh/site-functions/_ibackup",
      "ibackup completion fish > /etc/fish/completions/ibackup.fish",
    ],
    statuses: [],
  })
    .addArgument(new Argument("<shell>", "which shell").choices(["bash", "zsh", "fish"] as const))
    .action(async (shell) => {
      const script = COMPLETION_SCRIPTS[shell];
      await print({ json: { shell, script }, text: script.trimEnd() });
    });
}

/** What the scripts call. It never says anything but candidates. */
export function completeCommand(run: Run, print: Print) {
  return new Command("__complete").argument("<line>").action(async (line, _, command) => {
    const program = rootOf(command);
    const words = wordsOf(line);
    const completion = completeWords(program, words);
    const word = words.at(-1) ?? "";
    const printFound = (found: readonly Candidate[]) =>
      print(resultOf(word, completion.prefix, [...completion.candidates, ...found]));
    if (completion.wanted.length === 0) return await printFound([]);
    // The line's own --repo, --config and --vm say which backups there are.
    for (const [name, value] of Object.entries(completion.options)) {
      program.setOptionValue(name, value);
    }
    try {
      await run(async (session) => {
        const found = await lookUp(session, completion);
        return resultOf(word, completion.prefix, [...completion.candidates, ...found]);
      });
    } catch {
      // What is wrong will be said when the line is run.
      await printFound([]);
    }
  });
}

async function lookUp(
  { context: given, settings }: Session,
  { wanted }: Completion,
): Promise<Candidate[]> {
  const context = { ...given, progress: { ...given.progress, message: () => undefined } };
  const scope = { vmId: settings.vmGiven, diskName: undefined };
  const { devicesHere, knownBackups } = await import("../job/completion.ts");
  const { listBackups } = await import("../job/catalogue.ts");
  const list = async () => (await listBackups(context, scope)).backups;
  const devices = wanted.includes("device") ? devicesHere() : [];
  const backups = wanted.includes("backup") ? await knownBackups(context, list) : [];
  return [...devices, ...backups];
}

/** Names go into a command line as they are: what a shell would do something with is left out. */
const HARMLESS = /^[\w@%+=:,./-]+$/;

function resultOf(word: string, prefix: string, candidates: readonly Candidate[]) {
  const lines = candidates
    .map(({ value, description }) => ({ value: `${prefix}${value}`, description }))
    .filter(({ value }) => value.startsWith(word) && HARMLESS.test(value))
    .map(({ value, description }) => `${value}\t${description.split("\n")[0]}`.trimEnd());
  return { json: { candidates: lines }, text: lines.join("\n") };
}

/** Without what stands before: "sudo -E ibackup". */
function wordsOf(line: string): string[] {
  const words = splitUnfinished(line);
  const name = words.findIndex((word) => /(^|\/)ibackup$/.test(word));
  return words.slice(name + 1);
}
