/** What `ibackup shell` can be told. cliffy finds the command and holds its words against what it takes. */
import { PassThrough, Writable } from "node:stream";
import { CLI, type Command } from "cliffy";
import { IbackupError } from "../errors.ts";
import type { Terminal } from "./shell_terminal.ts";
import { splitUnfinished, splitWords } from "./words.ts";

/** What the commands do with. None of these ever throws. */
export interface ShellActions {
  /** Runs a command of ibackup. @returns Its exit status. */
  run(args: readonly string[]): Promise<number>;
  confirm(question: string): Promise<boolean>;
  /** Asks for another repository, and who opens it. */
  open(): Promise<void>;
  /** Shows the block devices of this machine. */
  showDisks(): Promise<void>;
  say(text: string): Promise<void>;
  tell(error: unknown): Promise<void>;
}

/** What completion offers for words that are no commands. */
export interface Known {
  backups(): readonly string[];
  devices(): readonly string[];
}

interface ShellCommand {
  description: string;
  /** In brackets: can be left out. */
  parameters?: readonly ("backup" | "[backup]" | "target" | "device")[];
  /** As the command of ibackup has them; said with two hyphens, or with cliffy's @. */
  options?: Readonly<Record<string, string>>;
  /** @param flags Those of the options that were given, and which disk is meant. */
  run(words: Words, flags: readonly string[], actions: ShellActions): Promise<unknown>;
}

type Words = Readonly<Record<string, string>>;

const COMMANDS: Readonly<Record<string, ShellCommand>> = {
  list: {
    description: "list the backups, oldest first",
    run: (_, flags, { run }) => run(["list", ...flags]),
  },
  show: {
    description: "show one backup: when, how, and what it builds on",
    parameters: ["backup"],
    run: ({ backup = "" }, flags, { run }) => run(["show", backup, ...flags]),
  },
  plan: {
    description: "say what a restore would do, and write nothing",
    parameters: ["backup", "target"],
    run: ({ backup = "", target = "" }, flags, { run }) =>
      run(["restore", backup, "--target", target, "--dry-run", ...flags]),
  },
  restore: {
    description: "write a backup to a disk, or to a new image file",
    parameters: ["backup", "target"],
    options: {
      verify: "read everything back afterwards and compare",
      "changed-only": "read the target first and write only what differs",
      partial: "restore what can be restored, and name what cannot",
      force: "overwrite the disk that was backed up, or replace a file",
    },
    run: restore,
  },
  verify: {
    description: "check that backups can be restored: all, or one",
    parameters: ["[backup]"],
    options: { data: "read and check every byte" },
    run: ({ backup }, flags, { run }) =>
      run(["verify", ...(backup === undefined ? [] : [backup]), ...flags]),
  },
  compare: {
    description: "tell where a backup and a disk or image file differ",
    parameters: ["backup", "device"],
    run: ({ backup = "", device = "" }, flags, { run }) =>
      run(["compare", backup, device, ...flags]),
  },
  disks: {
    description: "show the block devices of this machine",
    run: (_words, _flags, { showDisks }) => showDisks(),
  },
  open: {
    description: "use another repository, or other keys",
    run: (_words, _flags, { open }) => open(),
  },
};

/** Ends the shell. */
const EXIT = ["exit", "quit"];

async function restore(
  { backup = "", target = "" }: Words,
  flags: readonly string[],
  { run, confirm, say }: ShellActions,
): Promise<unknown> {
  if (target === "-") return await say("In the shell a target is a disk or a file.");
  const args = ["restore", backup, "--target", target, ...flags];
  if ((await run([...args, "--dry-run"])) !== 0) return;
  const isSure = await confirm(`What ${target} holds will be lost. Type yes to go on: `);
  return isSure ? await run(args) : await say("Nothing was written.");
}

/** Takes commands from the terminal until it ends, or until `exit`. */
export async function takeCommands(terminal: Terminal, actions: ShellActions): Promise<void> {
  const lines = new PassThrough();
  const scope: string[] = [];
  let isOver = false;
  await new Promise<void>((resolve) => {
    const feed = async (): Promise<void> => {
      const line = isOver ? undefined : await readLine(terminal, scope, actions);
      if (line !== undefined) return void lines.write(`${line}\n`);
      cli.hide();
      lines.end();
      resolve();
    };
    // cliffy writes nothing here but its prompt: when it is ready for the next line.
    const prompts = new Writable({
      write: (_piece, _encoding, done) => {
        done();
        feed().catch(actions.tell);
      },
    });
    const cli = new CLI({ input: lines, output: prompts, quietBlank: true })
      .setName("ibackup shell")
      .setInfo(
        "BACKUP is an id, its beginning, or `latest`. Options: --verify or @verify.\nWhere several disks have backups: --disk NAME, --vm ID.",
      )
      .addCommands(cliffyCommands(scope, actions));
    for (const name of EXIT) {
      cli.addCommand(name, {
        description: "leave the shell",
        action: () => {
          isOver = true;
        },
      });
    }
    cli.show();
  });
}

function cliffyCommands(scope: readonly string[], actions: ShellActions): Record<string, Command> {
  const entries = Object.entries(COMMANDS).map(([name, command]): [string, Command] => {
    const { description, parameters = [], options = {}, run } = command;
    return [
      name,
      {
        description,
        parameters: parameters.map((each) => ({
          label: each.replaceAll(/[[\]]/g, ""),
          optional: each.startsWith("["),
        })),
        options: Object.entries(options).map(([label, text]) => ({ label, description: text })),
        action: async (words: Words, given) => {
          const flags = Object.keys(given).filter((label) => given[label]);
          await run(words, [...flags.map((label) => `--${label}`), ...scope], actions);
        },
      },
    ];
  });
  return Object.fromEntries(entries);
}

/**
 * The next line, as cliffy takes it. Undefined: there is none.
 *
 * @param scope Is set to the options of the line that have values, which cliffy does not know.
 */
async function readLine(
  terminal: Terminal,
  scope: string[],
  { tell }: ShellActions,
): Promise<string | undefined> {
  for (;;) {
    const line = await terminal.ask("ibackup> ");
    if (line === undefined) return undefined;
    try {
      const { words, options } = takeScope(splitWords(line));
      scope.splice(0, scope.length, ...options);
      return words.map(quote).join(" ");
    } catch (error) {
      await tell(error);
    }
  }
}

const SCOPE = /^(--(?:disk|vm))(?:=(.*))?$/;

function takeScope(given: readonly string[]): { words: string[]; options: string[] } {
  const words: string[] = [];
  const options: string[] = [];
  for (let index = 0; index < given.length; index++) {
    const word = given[index] ?? "";
    const [, name, value] = SCOPE.exec(word) ?? [];
    // As on the command line: in the shell the target stands for itself.
    const target = /^--target(?:=(.*))?$/.exec(word);
    if (target) words.push(...target.slice(1).filter((it) => it !== undefined));
    else if (name === undefined) words.push(word.replace(/^--(?=\w)/, "@"));
    else if (value !== undefined) options.push(name, value);
    else options.push(name, given[++index] ?? "");
  }
  return { words, options };
}

/** cliffy cuts words at whatever is no letter, digit, dot or hyphen, slashes too, but for quoted ones. */
function quote(word: string): string {
  if (word !== "" && !word.includes('"')) return `"${word}"`;
  if (word !== "" && !word.includes("'")) return `'${word}'`;
  throw new IbackupError("USAGE", "Cannot use a word", {
    why: word === "" ? "it is empty" : `it has quotes of both kinds: ${word}`,
    fix: "rename the file, or use `ibackup restore` outside of the shell",
  });
}

/** What Tab offers at the end of a line. */
export function completeLine(line: string, known: Known): [candidates: string[], part: string] {
  const words = splitUnfinished(line);
  const part = words.at(-1) ?? "";
  const [name = ""] = words;
  const offered = words.length === 1 ? names() : wordsFor(name, words.slice(1), known);
  const isWhole = line.endsWith(part);
  return [
    isWhole ? offered.filter((word) => word.startsWith(part)).map((it) => `${it} `) : [],
    part,
  ];
}

function names(): string[] {
  return [...Object.keys(COMMANDS), "help", ...EXIT];
}

function wordsFor(name: string, words: readonly string[], known: Known): string[] {
  if (name === "help") return Object.keys(COMMANDS);
  const { parameters = [], options = {} } = COMMANDS[name] ?? {};
  if (words.at(-1)?.startsWith("-")) {
    return [...Object.keys(options), "disk", "vm"].map((label) => `--${label}`);
  }
  const before = words.slice(0, -1).filter((word) => !/^[-@]/.test(word)).length;
  const parameter = parameters[before] ?? "";
  if (/backup/.test(parameter)) return ["latest", ...known.backups()];
  return parameter === "" ? [] : [...known.devices()];
}
