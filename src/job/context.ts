/** What a job is given: nothing in src/job reads a global. `main.ts` builds it. */
import type { SecretFiles } from "../keys/secret_files.ts";
import type { Repository } from "../repo/repository.ts";
import type { Store } from "../store/store.ts";
import type { FreezeGate } from "./freeze_gate.ts";
import type { Progress } from "./progress.ts";

export interface Clock {
  /** For records: what time it is for people. It may jump. */
  now(): Date;
  /** For durations: milliseconds since some moment. It never goes back. */
  monotonicMs(): number;
}

/** Where somebody sits who can be asked. */
export interface Terminal {
  /** What is typed is not shown. @throws IbackupError INTERRUPTED. */
  ask(question: string): Promise<string>;
}

export interface JobContext {
  /** The store of the repository that the user named; USAGE when none was. Opened once. */
  openStore(): Promise<Store>;
  /** The repository that the user named; USAGE when none was. Opened once. */
  openRepository(): Promise<Repository>;
  /** Path of the helper's executable, written out at the first call. */
  helper(): Promise<string>;
  /**
   * Arguments that the helper is always started with: another folder for the pins, in tests.
   */
  readonly helperArgs: readonly string[];
  /** A folder that only root can enter and that the next boot finds empty. Made when needed. */
  runtimeDir(): string;
  /** A folder that only root can enter, for what can be found out again. Made when needed. */
  cacheDir(): string;
  /** A folder that only root can enter, for what a machine must not forget. Made when needed. */
  stateDir(): string;
  /** Where what opens sealed backups is. */
  readonly secrets: SecretFiles;
  /** Undefined in a pipe. */
  readonly terminal?: Terminal | undefined;
  /** The public key that backups have to be sealed to, of the config file. */
  readonly pinnedRecipient: string | undefined;
  /** What hooks find in theirs. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly progress: Progress;
  readonly clock: Clock;
  /** One for all jobs of the process. */
  readonly freezeGate: FreezeGate;
  /** So many bytes that nobody can guess. */
  random(bytes: number): Uint8Array;
  /** Aborted when the user interrupts. Its reason is an IbackupError INTERRUPTED. */
  readonly signal: AbortSignal;
  /** Of ibackup: "0.1.0". */
  readonly version: string;
}

export interface OpenContext {
  context: JobContext;
  close(): Promise<void>;
}
