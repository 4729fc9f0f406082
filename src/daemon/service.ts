/** What the parts of the daemon share: settings, time, log, alarms, and who wants to know. */
import type { ControlEvent } from "../api/control.ts";
import type { Settings } from "../config/settings.ts";
import { type ErrorCode, IbackupError, messageOf } from "../errors.ts";
import type { JobContext, OpenContext } from "../job/context.ts";
import type { FreezeGate } from "../job/freeze_gate.ts";
import type { Progress } from "../job/progress.ts";
import { giveBackMemory } from "../runtime/idle_memory.ts";
import { type AlarmChange, type AlarmKind, Alarms } from "./alarms.ts";
import type { DaemonClock } from "./clock.ts";
import type { Log } from "./log.ts";

export interface ServiceOptions {
  settings: Settings;
  /** For what belongs to no job: the helper, the folders of the machine. Its signal ends the daemon. */
  context: JobContext;
  /** A context for one job, with a store and a repository of its own. */
  openContext(settings: Settings): Promise<OpenContext>;
  clock: DaemonClock;
  log: Log;
}

/** What happens is told to subscribers at most so often. */
const TELL_MS = 250;
/** After a job; the next one may be about to begin. */
const REST_MS = 3_000;

export class Service {
  settings: Settings;
  readonly context: JobContext;
  readonly clock: DaemonClock;
  readonly log: Log;
  readonly alarms: Alarms;
  /** Called when what is to be done may have changed. */
  onWake: () => void = () => undefined;
  /** Called at most every `TELL_MS` when something has changed that subscribers may want to know. */
  onTell: () => void = () => undefined;
  onAlarm: (change: AlarmChange) => void = () => undefined;
  readonly #openContext: ServiceOptions["openContext"];
  readonly #subscribers = new Set<(event: ControlEvent) => void>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #restTimer: ReturnType<typeof setTimeout> | undefined;

  constructor({ settings, context, openContext, clock, log }: ServiceOptions) {
    this.settings = settings;
    this.context = context;
    this.clock = clock;
    this.log = log;
    this.#openContext = openContext;
    this.alarms = new Alarms(
      () => clock.now(),
      (change) => this.#noteAlarm(change),
    );
  }

  get freezeGate(): FreezeGate {
    return this.context.freezeGate;
  }

  get nowMs(): number {
    return this.clock.now().getTime();
  }

  get isEnding(): boolean {
    return this.context.signal.aborted;
  }

  /** Runs one job. What it opened is closed then. */
  async inContext<T>(progress: Progress, work: (context: JobContext) => Promise<T>): Promise<T> {
    clearTimeout(this.#restTimer);
    const { context, close } = await this.#openContext(this.settings);
    try {
      return await work({ ...context, progress, clock: this.clock, freezeGate: this.freezeGate });
    } finally {
      progress.end();
      await close();
      this.#restTimer = setTimeout(() => void giveBackMemory(), REST_MS).unref();
    }
  }

  subscribe(listener: (event: ControlEvent) => void): () => void {
    this.#subscribers.add(listener);
    return () => this.#subscribers.delete(listener);
  }

  get isWatched(): boolean {
    return this.#subscribers.size > 0;
  }

  emit(event: ControlEvent): void {
    for (const listener of this.#subscribers) listener(event);
  }

  /** A job has ended: the next one can begin. */
  noteEnd(): void {
    this.onWake();
    this.noteChange();
  }

  /** Something has changed: what is to be done is asked anew soon, and subscribers are told. */
  noteChange(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.onWake();
      if (this.isWatched) this.onTell();
    }, TELL_MS).unref();
  }

  /** A job has failed, or not: then the store answers too. */
  noteJob(kind: AlarmKind, device: string | null, failure: unknown): void {
    const { alarms } = this;
    if (failure === undefined) {
      alarms.pass(kind, device);
      alarms.pass("store", null);
    } else if (isOfStore(failure)) alarms.raise("store", null, failure);
    else alarms.raise(kind, device, failure);
  }

  #noteAlarm(change: AlarmChange): void {
    const { event, alarm } = change;
    const { what, why, code } = alarm.failure;
    const device = alarm.device ?? "";
    if (event === "raised") {
      this.log.write("error", `${what}: ${why}`, { alarm: alarm.kind, device, code });
    } else {
      this.log.write("info", `passed: ${what}`, { alarm: alarm.kind, device, code });
    }
    this.onAlarm(change);
    this.noteChange();
  }
}

/** True when all jobs will fail for the same reason. */
export function isOfStore(error: unknown): boolean {
  return error instanceof IbackupError && STORE_CODES.has(error.code);
}

const STORE_CODES: ReadonlySet<ErrorCode> = new Set([
  "STORE_UNREACHABLE",
  "STORE_DENIED",
  "STORE_FULL",
  "REPOSITORY_MISSING",
]);

/** For the log: a failure in one line. */
export function lineOf(error: unknown): string {
  return error instanceof IbackupError ? `${error.message}: ${error.why}` : messageOf(error);
}
