/** Runs a command of the user, with a time limit that holds. */
import { type ChildProcess, spawn } from "node:child_process";
import { kill } from "node:process";
import { formatDuration } from "../core/units.ts";
import { messageOf, systemCodeOf } from "../errors.ts";

export interface HookCommand {
  /** For `/bin/sh -c`. */
  command: string;
  environment: Readonly<Record<string, string | undefined>>;
  timeLimitMs: number;
  /** For its standard input. */
  input?: string | undefined;
  signal?: AbortSignal | undefined;
}

/** How a hook ended. */
export interface HookEnd {
  /** The last of what it wrote to standard output and standard error. */
  output: string;
  /** Undefined when it ended with status 0; else "it ended with status 1". */
  fault: string | undefined;
  /** Its time was over. */
  isLate: boolean;
}

const OUTPUT_BYTES_MAX = 64 << 10;
/** A command that leaves a process behind leaves its pipes open: nobody waits for that one. */
const PIPES_WAIT_MS = 100;

/**
 * Its process group is killed when its time is over or `signal` aborts. Then its end is not waited
 * for: a process that writes to what is frozen does not even die before it is thawed.
 */
export async function runHookCommand(hook: HookCommand): Promise<HookEnd> {
  const { command, environment, timeLimitMs, input, signal } = hook;
  const child = spawn("/bin/sh", ["-c", command], {
    stdio: [input === undefined ? "ignore" : "pipe", "pipe", "pipe"],
    env: environment,
    // A process group of its own, so that all of it can be killed.
    detached: true,
  });
  const output = new Tail(child);
  // It may end without having read anything; how it ended says why.
  child.stdin?.on("error", () => undefined);
  child.stdin?.end(input);
  const end = Promise.withResolvers<Omit<HookEnd, "output">>();
  const stop = (fault: string, isLate: boolean): void => end.resolve({ fault, isLate });
  const interrupt = (): void => stop("ibackup was interrupted", false);
  const timer = setTimeout(
    () => stop(`it did not end within ${formatDuration(timeLimitMs)}`, true),
    timeLimitMs,
  );
  signal?.addEventListener("abort", interrupt);
  if (signal?.aborted) interrupt();
  child.on("error", (error) => stop(messageOf(error), false));
  child.on("exit", (status, killer) => {
    const fault = status === 0 ? undefined : `it ended with ${killer ?? `status ${status}`}`;
    end.resolve({ fault, isLate: false });
  });
  const { fault, isLate } = await end.promise;
  clearTimeout(timer);
  signal?.removeEventListener("abort", interrupt);
  if (child.exitCode === null && child.signalCode === null) killGroup(child);
  else await output.closedOr(PIPES_WAIT_MS);
  output.close();
  return { output: output.text, fault, isLate };
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    kill(-pid, "SIGKILL");
  } catch (error) {
    // It has just ended.
    if (systemCodeOf(error) !== "ESRCH") throw error;
  }
}

/** The last of what a process writes. */
class Tail {
  readonly #child: ChildProcess;
  readonly #closed = Promise.withResolvers<void>();
  readonly #decoder = new TextDecoder();
  #pieces: Uint8Array[] = [];
  #bytes = 0;

  constructor(child: ChildProcess) {
    this.#child = child;
    child.on("close", () => this.#closed.resolve());
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (piece: Uint8Array) => this.#add(piece));
      stream?.on("error", () => undefined);
    }
  }

  get text(): string {
    return this.#pieces.map((piece) => this.#decoder.decode(piece, { stream: true })).join("");
  }

  /** Resolves when the pipes are closed, or the time is over. */
  async closedOr(waitMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const waited = new Promise((resolve) => {
      timer = setTimeout(resolve, waitMs);
    });
    await Promise.race([this.#closed.promise, waited]);
    clearTimeout(timer);
  }

  close(): void {
    this.#child.stdin?.destroy();
    this.#child.stdout?.destroy();
    this.#child.stderr?.destroy();
    this.#child.unref();
  }

  #add(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    while (this.#bytes - (this.#pieces[0]?.length ?? 0) >= OUTPUT_BYTES_MAX) {
      this.#bytes -= this.#pieces.shift()?.length ?? 0;
    }
  }
}
