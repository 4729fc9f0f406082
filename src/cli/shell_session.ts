/** `ibackup shell`: asks once for what opens a repository, then runs commands on it. */
import type { Settings } from "../config/settings.ts";
import { EXIT_STATUS, IbackupError } from "../errors.ts";
import { listBackups } from "../job/catalogue.ts";
import { devicesHere } from "../job/completion.ts";
import type { JobContext } from "../job/context.ts";
import { proveSecrets } from "../job/keys.ts";
import type { Machine } from "./machine.ts";
import { renderError } from "./render_error.ts";
import { completeLine, takeCommands } from "./shell_commands.ts";
import { Terminal } from "./shell_terminal.ts";
import { printable, table } from "./text.ts";

export interface ShellOptions {
  machine: Machine;
  settings: Settings;
  /** Runs a command of ibackup. @returns Its exit status. */
  runProgram(args: readonly string[], machine: Machine): Promise<number>;
  /** Arguments that every command is run with. */
  common: readonly string[];
}

export async function runShell(options: ShellOptions): Promise<void> {
  await new Shell(options).run();
}

type Typed = Pick<Settings["secrets"], "passphrase" | "identities">;

const INTRODUCTION = `ibackup shell. Nothing that you type here is written to a disk.
\`help\` lists the commands, Tab completes, \`exit\` or Ctrl-D ends.
`;

/** How long what was interrupted is given to end in order: a store that hangs takes minutes. */
const GRACE_MS = 1000;
const NEVER = new Promise<never>(() => undefined);

/** Throws the reason, a moment after the signal. */
function left(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => setTimeout(() => reject(signal.reason), GRACE_MS), {
      once: true,
    });
  });
}

class Shell {
  readonly #machine: Machine;
  readonly #given: Settings;
  readonly #options: ShellOptions;
  readonly #terminal: Terminal;
  #repo: string | undefined;
  #secrets: Settings["secrets"];
  /** Ids, newest first. */
  #backups: string[] = [];

  constructor(options: ShellOptions) {
    const { machine, settings } = options;
    this.#options = options;
    this.#machine = machine;
    this.#given = settings;
    this.#repo = settings.repo;
    this.#secrets = settings.secrets;
    const known = {
      backups: () => this.#backups,
      devices: () => devicesHere().map(({ value }) => value),
    };
    this.#terminal = new Terminal({
      ...machine.terminal,
      complete: (line) => completeLine(line, known),
      onInterrupt: () => machine.terminal.interrupt(),
    });
  }

  async run(): Promise<void> {
    try {
      await this.#machine.writeOut(INTRODUCTION);
      this.#beginQuestion();
      if (!(await this.#open())) return;
      await takeCommands(this.#terminal, {
        run: (args) => this.#runCommand(args),
        confirm: async (question) => (await this.#terminal.ask(question))?.trim() === "yes",
        open: () => this.#openAnother(),
        showDisks: () => this.#showDisks(),
        say: (text) => this.#machine.writeOut(`${text}\n`),
        tell: (error) => this.#tell(error),
      });
    } finally {
      this.#terminal.close();
    }
  }

  /** A signal that comes while a question stands ends the shell. */
  #beginQuestion(): void {
    const signal = this.#machine.terminal.renewInterruption();
    signal.addEventListener("abort", () => this.#terminal.close(), { once: true });
  }

  async #runCommand(args: readonly string[]): Promise<number> {
    const { machine, runProgram, common } = this.#options;
    const signal = machine.terminal.renewInterruption();
    const unless = (write: Machine["writeOut"]) => async (text: string) => {
      if (!hasGone) await write(text);
    };
    let hasGone = false;
    const inner: Machine = {
      ...machine,
      writeOut: unless(machine.writeOut),
      writeError: unless(machine.writeError),
      openContext: async (settings) => {
        const opened = await machine.openContext(this.#opening(settings));
        // Whatever can be asked for was asked for.
        return { ...opened, context: { ...opened.context, terminal: undefined } };
      },
    };
    // What writes to a disk is never left to itself.
    const patience = args[0] === "restore" && !args.includes("--dry-run") ? NEVER : left(signal);
    try {
      return await Promise.race([runProgram([...args, ...common], inner), patience]);
    } catch (error) {
      hasGone = true;
      await this.#tell(error);
      return EXIT_STATUS.INTERRUPTED;
    } finally {
      this.#beginQuestion();
    }
  }

  #opening(settings: Settings): Settings {
    return { ...settings, repo: this.#repo, secrets: this.#secrets };
  }

  async #openAnother(): Promise<void> {
    this.#repo = undefined;
    this.#secrets = { identityFile: undefined, passphraseFile: undefined };
    await this.#open();
  }

  /** Asks until a repository is open. @returns False: the user went away. */
  async #open(): Promise<boolean> {
    let areKeysNeeded = false;
    for (;;) {
      this.#repo ??= await this.#terminal.ask(
        "Repository (file:///path, s3://bucket/prefix?endpoint=URL): ",
      );
      if (this.#repo === undefined) return false;
      if (/^s3:/.test(this.#repo)) await this.#askStoreKeys(areKeysNeeded);
      try {
        return await this.#look();
      } catch (error) {
        await this.#tell(error);
        areKeysNeeded = error instanceof IbackupError && error.code === "STORE_DENIED";
        if (!areKeysNeeded) this.#repo = undefined;
      }
    }
  }

  /** @param areNeeded Those that there are were refused. */
  async #askStoreKeys(areNeeded: boolean): Promise<void> {
    const { environment, terminal } = this.#machine;
    const has = environment["AWS_ACCESS_KEY_ID"] ?? environment["AWS_PROFILE"];
    if (has !== undefined && !areNeeded) return;
    const id = await this.#terminal.ask("Access key id (empty: as the AWS SDK finds it): ");
    if (id === undefined || id.trim() === "") return;
    const secret = await this.#terminal.askHidden("Secret access key (not shown): ");
    terminal.setVariable("AWS_ACCESS_KEY_ID", id.trim());
    terminal.setVariable("AWS_SECRET_ACCESS_KEY", secret?.trim() ?? "");
  }

  /** @throws What is wrong with the repository. @returns False: the user went away. */
  async #look(): Promise<boolean> {
    const { backups, isSealed } = await this.#withContext(async (context) => {
      const { isSealed } = await context.openRepository();
      return {
        isSealed,
        ...(await listBackups(context, { vmId: undefined, diskName: undefined })),
      };
    });
    this.#backups = backups.map(({ backupId }) => backupId).reverse();
    await this.#machine.writeOut(`${backups.length} backups in ${this.#repo}\n`);
    const { identityFile, passphraseFile } = this.#secrets;
    if (!isSealed || (identityFile ?? passphraseFile) !== undefined) return true;
    return await this.#askSecrets();
  }

  async #askSecrets(): Promise<boolean> {
    for (;;) {
      const file = await this.#terminal.ask(
        "The backups are sealed. Identity file (empty: none): ",
      );
      if (file === undefined) return false;
      const typed = file.trim() === "" ? await this.#askTyped() : undefined;
      if (file.trim() === "" && typed === undefined) {
        await this.#machine.writeOut(
          "They stay closed: what needs their contents will be refused.\n",
        );
        return true;
      }
      const secrets = {
        identityFile: file.trim() || undefined,
        passphraseFile: undefined,
        ...typed,
      };
      try {
        await this.#withContext((context) => proveSecrets({ ...context, secrets }));
        this.#secrets = secrets;
        return true;
      } catch (error) {
        await this.#tell(error);
      }
    }
  }

  async #askTyped(): Promise<Typed | undefined> {
    const text = await this.#terminal.askHidden(
      "Passphrase, or AGE-SECRET-KEY-1... (not shown; empty: none): ",
    );
    if (text === undefined || text === "") return undefined;
    const isIdentity = /^\s*AGE-SECRET-KEY-1/i.test(text);
    return isIdentity ? { identities: [text.trim().toUpperCase()] } : { passphrase: text };
  }

  async #withContext<T>(use: (context: JobContext) => Promise<T>): Promise<T> {
    const signal = this.#machine.terminal.renewInterruption();
    const { context, close } = await this.#machine.openContext(this.#opening(this.#given));
    try {
      return await Promise.race([use(context), left(signal)]);
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      await close();
      this.#beginQuestion();
    }
  }

  async #showDisks(): Promise<void> {
    const rows = devicesHere().map(({ value, description }) => [value, description]);
    await this.#machine.writeOut(`${table([["DEVICE", "SIZE"], ...rows], new Set([1]))}\n`);
  }

  async #tell(error: unknown): Promise<void> {
    await this.#machine.writeError(printable(renderError(error, this.#machine.version)));
  }
}
