/**
 * The composition root: gives the command line its process, and its jobs their context. What is
 * large is loaded when a command needs it, so that `--version` answers at once.
 */
import { randomBytes } from "node:crypto";
import process from "node:process";
import packageJson from "../package.json" with { type: "json" };
import type { Machine } from "./cli/machine.ts";
import { runProgram } from "./cli/program.ts";
import { openProgress } from "./cli/progress_bar.ts";
import type { Settings } from "./config/settings.ts";
import { EXIT_STATUS, IbackupError, systemCodeOf } from "./errors.ts";
import type { JobContext, OpenContext } from "./job/context.ts";
import { FreezeGate } from "./job/freeze_gate.ts";
import type { Repository } from "./repo/repository.ts";
import { widenThreadPool } from "./runtime/io_threads.ts";
import type { Store } from "./store/store.ts";

const { version } = packageJson;
const { env, stderr, stdin, stdout } = process;
/** Of what is being done: in a shell one command after another. */
let interruption = new AbortController();

let reload: (() => void) | undefined;

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    if (signal === "SIGHUP" && reload !== undefined) reload();
    else interrupt(signal);
  });
}

for (const stream of [stdout, stderr]) {
  stream.on("error", (error) => {
    if (systemCodeOf(error) !== "EPIPE") throw error;
    interruption.abort(readerGone(error));
  });
}

const machine: Machine = {
  version,
  environment: env,
  writeOut: (text) => write(stdout, text),
  writeError: (text) => write(stderr, text),
  openContext,
  terminal: {
    input: stdin,
    output: stdout,
    interrupt: () => interrupt("SIGINT"),
    renewInterruption: () => {
      interruption = new AbortController();
      return interruption.signal;
    },
    setVariable: (name, value) => {
      env[name] = value;
    },
  },
  onHangup: (wanted) => {
    reload = wanted;
  },
};

process.exit(await runProgram(process.argv.slice(2), machine));

async function openContext(settings: Settings): Promise<OpenContext> {
  await widenThreadPool();
  let store: Promise<Store> | undefined;
  let repository: Promise<Repository> | undefined;
  const openStore = (): Promise<Store> => {
    store ??= import("./store/open.ts").then((it) =>
      it.openStore(repositoryUrl(settings), settings.store),
    );
    return store;
  };
  const openRepository = (): Promise<Repository> => {
    repository ??= openSealable();
    return repository;
  };
  const openSealable = async (): Promise<Repository> => {
    const { openRepository } = await import("./repo/repository.ts");
    const { findKeys } = await import("./job/repository_keys.ts");
    return await openRepository(await openStore(), findKeys(context));
  };
  const { openRuntimeFolder } = await import("./job/runtime_folder.ts");
  const { openCacheFolder } = await import("./job/cache_folder.ts");
  const { openStateFolder } = await import("./job/state_folder.ts");
  const context: JobContext = {
    openStore,
    openRepository,
    helper: async () => (await import("./runtime/embedded_helper.ts")).helperExecutable(),
    helperArgs: helperArguments(),
    runtimeDir: () => openRuntimeFolder(env["IBACKUP_RUNTIME_DIR"]),
    cacheDir: () => openCacheFolder(env["IBACKUP_CACHE_DIR"]),
    stateDir: () => openStateFolder(env["IBACKUP_STATE_DIR"]),
    secrets: settings.secrets,
    terminal: (await import("./cli/passphrase_prompt.ts")).openTerminal(stdin, stderr),
    pinnedRecipient: settings.pinnedRecipient,
    environment: env,
    progress: await openProgress(stderr, env["TERM"]),
    freezeGate: new FreezeGate(),
    clock: { now: () => new Date(), monotonicMs: () => performance.now() },
    random: (bytes: number) => new Uint8Array(randomBytes(bytes)),
    signal: interruption.signal,
    version,
  };
  const close = async (): Promise<void> => {
    // A store that could not be opened has been reported, and has nothing to close.
    await store?.then((opened) => opened.close()).catch(() => undefined);
  };
  return { context, close };
}

/** Tests pin their hooks elsewhere than the machine's own ibackup does. */
function helperArguments(): string[] {
  const folder = env["IBACKUP_PIN_DIR"];
  return folder === undefined ? [] : ["--pins", folder];
}

function repositoryUrl({ repo }: Settings): string {
  if (repo !== undefined) return repo;
  throw new IbackupError("USAGE", "Cannot tell which repository is meant", {
    why: "neither --repo, IBACKUP_REPO, nor `repo` in the config file names one",
    fix: "add --repo file:///srv/backup or --repo s3://bucket/prefix",
  });
}

/** Resolves when the text was handed over; that nobody reads it any more is no failure. */
function write(stream: NodeJS.WriteStream, text: string): Promise<void> {
  return new Promise((resolve) => {
    stream.write(text, () => resolve());
  });
}

function interrupt(signal: string): void {
  // Asked twice: the user does not want to wait for things to be cleared up.
  if (interruption.signal.aborted) process.exit(EXIT_STATUS.INTERRUPTED);
  interruption.abort(interrupted(signal));
}

function interrupted(signal: string): IbackupError {
  return new IbackupError("INTERRUPTED", "Interrupted", {
    why: `ibackup was sent ${signal}`,
    fix: "run the command again; what was not finished does not count",
  });
}

function readerGone(cause: unknown): IbackupError {
  return new IbackupError("IO", "Cannot write to standard output", {
    why: "whoever read it has gone",
    fix: "see why the next command of the pipe ended",
    cause,
  });
}
