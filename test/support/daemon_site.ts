/** A daemon within the test: a real disk, a real repository, and time as the test wants it. */
import { randomBytes } from "node:crypto";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { resolveSettings, type Settings } from "../../src/config/settings.ts";
import type { DaemonClock } from "../../src/daemon/clock.ts";
import { Daemon } from "../../src/daemon/daemon.ts";
import { IbackupError } from "../../src/errors.ts";
import type { JobContext, OpenContext } from "../../src/job/context.ts";
import { stopTracking } from "../../src/job/track.ts";
import { createRepository, openRepository } from "../../src/repo/repository.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import type { Store } from "../../src/store/store.ts";
import { machineContext } from "./context.ts";
import { Machine } from "./machine.ts";

/** Time that stands still while anything is done, and passes at once while nothing is. */
export class CompressedClock implements DaemonClock {
  #nowMs: number;
  /** To be set: whether nothing is done. */
  isIdle: () => boolean = () => true;
  /** What happens at which instant; done in the order of time. */
  readonly events: { atMs: number; happen(): void }[] = [];

  constructor(startMs: number) {
    this.#nowMs = startMs;
  }

  now(): Date {
    return new Date(this.#nowMs);
  }

  monotonicMs(): number {
    return performance.now();
  }

  pass(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  async sleepUntil(atMs: number, signal: AbortSignal): Promise<void> {
    while (!this.isIdle() && !signal.aborted) await sleep(1);
    if (signal.aborted) return;
    this.events.sort((left, right) => left.atMs - right.atMs);
    const next = this.events[0];
    this.#nowMs = Math.max(this.#nowMs, Math.min(atMs, next?.atMs ?? atMs));
    while (this.events[0] && this.events[0].atMs <= this.#nowMs) this.events.shift()?.happen();
  }
}

export interface LogLine {
  level: string;
  message: string;
  atMs: number;
}

export class DaemonSite {
  readonly machine = new Machine();
  readonly pinFolder = `/sys/fs/bpf/ibackup-test-${randomBytes(6).toString("hex")}`;
  readonly lines: LogLine[] = [];
  readonly repositoryFolder = this.machine.path("repository");
  /** What the jobs of the daemon are given for the repository's. */
  wrapStore: (store: Store) => Store = (store) => store;
  /** Not undefined: the store cannot be opened. */
  storeFailure: IbackupError | undefined;

  async init(): Promise<void> {
    const store = new DirectoryStore(this.repositoryFolder);
    await createRepository(store, { id: crypto.randomUUID(), createdAt: new Date() });
  }

  settings(config: string): Settings {
    const path = this.machine.path("config.toml");
    writeFileSync(path, config, { mode: 0o600 });
    return resolveSettings({ config: path, vm: "web-1" }, {});
  }

  context(signal: AbortSignal): JobContext {
    const open = (): Store => {
      if (this.storeFailure !== undefined) throw this.storeFailure;
      return this.wrapStore(new DirectoryStore(this.repositoryFolder));
    };
    return {
      ...machineContext(this.machine),
      environment: {},
      helperArgs: ["--pins", this.pinFolder],
      openStore: async () => open(),
      openRepository: async () => await openRepository(open()),
      signal,
    };
  }

  /** A daemon that works until `end` is called. */
  start(settings: Settings, clock: DaemonClock): { daemon: Daemon; end(): Promise<void> } {
    const control = new AbortController();
    const context = this.context(control.signal);
    const openContext = async (): Promise<OpenContext> => ({
      context: this.context(control.signal),
      close: async () => undefined,
    });
    const daemon = new Daemon({
      settings,
      context,
      openContext,
      loadSettings: () => resolveSettings({ config: this.machine.path("config.toml") }, {}),
      clock,
      log: {
        write: (level, message) =>
          void this.lines.push({ level, message, atMs: clock.now().getTime() }),
      },
      configFile: null,
    });
    if (clock instanceof CompressedClock) clock.isIdle = () => daemon.isIdle;
    const ended = daemon.run();
    const end = async (): Promise<void> => {
      control.abort(interrupted());
      await ended;
    };
    return { daemon, end };
  }

  /** What a boot does: nothing is tracked, and the runtime folder is empty. */
  async reboot(): Promise<void> {
    await stopTracking(this.context(new AbortController().signal), []);
    for (const name of ["attachments", "pending", "recent", "locks"]) {
      rmSync(`${this.machine.runtimeFolder}/${name}`, { recursive: true, force: true });
    }
  }

  async close(): Promise<void> {
    if (existsSync(this.pinFolder)) await this.reboot();
    this.machine.close();
  }
}

function interrupted(): IbackupError {
  return new IbackupError("INTERRUPTED", "Interrupted", { why: "the test ends", fix: "nothing" });
}
