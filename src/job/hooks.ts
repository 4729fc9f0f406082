/**
 * Commands of the user around a freeze: `pre-freeze`, so that a database can write out what it holds
 * back; `frozen`, while nothing is written; `post-thaw`, to go on.
 */
import { IbackupError } from "../errors.ts";
import type { JobContext } from "./context.ts";
import { runHookCommand } from "./hook_process.ts";

export type HookName = "pre-freeze" | "frozen" | "post-thaw";

export interface HookOptions {
  /** For `/bin/sh -c`. */
  commands: Readonly<Partial<Record<HookName, string>>>;
  /** For each of them. */
  timeLimitMs: number;
}

export const NO_HOOKS: HookOptions = { commands: {}, timeLimitMs: 60_000 };

/** What a hook finds in its environment. */
export interface HookPlace {
  device: string;
  mountpoints: readonly string[];
}

/** The hooks of one flush. */
export class Hooks {
  readonly #context: JobContext;
  readonly #options: HookOptions;
  readonly #place: HookPlace;
  #mustEnd = false;
  #endFailure: IbackupError | undefined;

  constructor(context: JobContext, options: HookOptions, place: HookPlace) {
    this.#context = context;
    this.#options = options;
    this.#place = place;
  }

  /** Why `post-thaw` failed. The backup is good all the same. */
  get endFailure(): IbackupError | undefined {
    return this.#endFailure;
  }

  has(name: HookName): boolean {
    return this.#options.commands[name] !== undefined;
  }

  /** Runs `pre-freeze`. From now on `end` runs `post-thaw`. @throws IbackupError HOOK. */
  async begin(): Promise<void> {
    this.#mustEnd = true;
    await this.#run("pre-freeze", this.#options.timeLimitMs);
  }

  /**
   * Runs `frozen`, for which no more time is left than until the thaw.
   * @returns False when that time was over; its own limit is a failure like any other.
   * @throws IbackupError HOOK.
   */
  async whileFrozen(thawsInMs: number): Promise<boolean> {
    const { timeLimitMs } = this.#options;
    return await this.#run("frozen", Math.min(timeLimitMs, thawsInMs), thawsInMs <= timeLimitMs);
  }

  /** Runs `post-thaw`, once, if `pre-freeze` was begun. Its failure is kept and told. */
  async end(): Promise<void> {
    if (!this.#mustEnd) return;
    this.#mustEnd = false;
    try {
      await this.#run("post-thaw", this.#options.timeLimitMs);
    } catch (error) {
      if (!(error instanceof IbackupError)) throw error;
      this.#endFailure = error;
    }
  }

  async #run(name: HookName, timeLimitMs: number, mayBeLate = false): Promise<boolean> {
    const command = this.#options.commands[name];
    if (command === undefined) return true;
    const { environment, signal, progress } = this.#context;
    const { device, mountpoints } = this.#place;
    const { output, fault, isLate } = await runHookCommand({
      command,
      environment: {
        ...environment,
        IBACKUP_DEVICE: device,
        IBACKUP_MOUNTPOINTS: mountpoints.join("\n"),
      },
      timeLimitMs,
      // What pre-freeze began has to be ended, also when the user has interrupted.
      signal: name === "post-thaw" ? undefined : signal,
    });
    for (const line of linesOf(output)) progress.message(`${name}: ${line}`);
    if (name !== "post-thaw") signal.throwIfAborted();
    if (fault === undefined) return true;
    if (isLate && mayBeLate) return false;
    throw hookFailed(name, fault);
  }
}

function linesOf(output: string): string[] {
  // Without what would move the cursor or change colours.
  const lines = output.replaceAll(/[^\P{Cc}\n\t]/gu, "?").split("\n");
  return lines.filter((line) => line.trim() !== "");
}

/** Does not repeat the command: it may hold a password. */
function hookFailed(name: HookName, why: string): IbackupError {
  return new IbackupError("HOOK", `The ${name} hook failed`, {
    why,
    fix:
      name === "post-thaw"
        ? "run it by hand: what pre-freeze has stopped may still stand; the backup is not affected"
        : "run it by hand to see why; nothing was committed",
  });
}
