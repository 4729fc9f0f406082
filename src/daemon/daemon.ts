/**
 * One process that looks after all tracked disks of a machine: it hears which blocks change, takes
 * backups when they are due, and does the chores.
 *
 * It holds nothing that could be lost. What has changed is in the kernel and the pending sets, when the
 * last backup was taken is in the repository: killed at any moment, the next daemon goes on. Whatever
 * fails is tried again later, and is an alarm until then.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { makeApp } from "../api/app.ts";
import { listenOn, socketPathIn } from "../api/socket.ts";
import type { Settings } from "../config/settings.ts";
import { formatDuration } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import { openNotifySocket } from "../runtime/notify_socket.ts";
import { Chores } from "./chores.ts";
import { DaemonControl } from "./daemon_control.ts";
import { Flusher } from "./flusher.ts";
import { Notifier } from "./notifier.ts";
import { Restorer } from "./restorer.ts";
import { lineOf, Service, type ServiceOptions } from "./service.ts";
import { ServiceManager } from "./service_manager.ts";
import { Watcher } from "./watcher.ts";

export interface DaemonOptions extends ServiceOptions {
  /** @throws IbackupError CONFIG. */
  loadSettings(): Settings;
  /** The config file, where there is one. */
  configFile: string | null;
}

/** A flush that makes no step for so long stands still. */
const STALL_MS = 15 * 60_000;
const END_MS_MAX = 10_000;

export class Daemon {
  readonly control: DaemonControl;
  readonly #options: DaemonOptions;
  readonly #service: Service;
  readonly #watcher: Watcher;
  readonly #flusher: Flusher;
  readonly #chores: Chores;
  readonly #notifier: Notifier;
  readonly #restorer: Restorer;
  #manager = new ServiceManager(undefined, undefined);
  #lookAtMs = Number.NEGATIVE_INFINITY;
  #isReloadWanted = false;
  #wake = new AbortController();

  constructor(options: DaemonOptions) {
    this.#options = options;
    const service = new Service(options);
    this.#service = service;
    this.#watcher = new Watcher(service);
    this.#flusher = new Flusher(service);
    this.#chores = new Chores(service);
    this.#notifier = new Notifier(service);
    this.#restorer = new Restorer(service);
    const parts = {
      ...{ watcher: this.#watcher, flusher: this.#flusher },
      ...{ chores: this.#chores, restorer: this.#restorer },
    };
    this.control = new DaemonControl(service, parts, options.configFile);
    service.onWake = () => this.#wake.abort();
    service.onTell = () => service.emit({ kind: "status", data: this.control.status() });
    service.onAlarm = (change) => this.#notifier.tell(change);
    this.#flusher.onBackup = () => {
      this.#notifier.beat();
      this.#lookSoon();
    };
    this.#watcher.onLost = () => this.#lookSoon();
    this.control.onLook = () => this.#lookSoon();
    this.control.onReload = () => this.reload();
  }

  /** True while nothing is being done. */
  get isIdle(): boolean {
    return !this.#flusher.isBusy && !this.#chores.isBusy && !this.#restorer.isBusy;
  }

  /** Reads the config file again, soon. */
  reload(): void {
    this.#isReloadWanted = true;
    this.#wake.abort();
  }

  /**
   * Works until the signal of the context aborts. What is under way then is broken off, without harm.
   *
   * @throws IbackupError LOCKED while another daemon runs; NOT_PERMITTED.
   */
  async run(): Promise<void> {
    const { context, log } = this.#service;
    const { environment, signal, version } = context;
    const end = (): void => this.#wake.abort();
    signal.addEventListener("abort", end);
    await this.#watcher.open();
    try {
      const path = socketPathIn(context.runtimeDir());
      const server = await listenOn(path, makeApp(this.control, version).fetch);
      try {
        const address = environment["NOTIFY_SOCKET"];
        const socket = address === undefined ? undefined : await openNotifySocket(address);
        this.#manager = new ServiceManager(socket, environment["WATCHDOG_USEC"]);
        log.write("info", "started", { version, socket: path });
        await this.#work();
      } finally {
        this.#manager.stopping();
        await server.close();
      }
    } finally {
      signal.removeEventListener("abort", end);
      const jobs = [this.#flusher, this.#chores, this.#restorer];
      const ended = [...jobs.map((it) => it.end()), this.#notifier.ended()];
      // What a store holds up ends with the process: it is broken off without harm.
      await Promise.race([Promise.all(ended), sleep(END_MS_MAX, undefined, { ref: false })]);
      await this.#watcher.close();
      log.write("info", "stopped");
    }
  }

  async #work(): Promise<void> {
    const { clock, context } = this.#service;
    await this.#look();
    this.#manager.ready();
    while (!context.signal.aborted) {
      this.#wake = new AbortController();
      if (this.#isReloadWanted) this.#reload();
      const nextMs = await this.#turn();
      if (context.signal.aborted) return;
      await clock.sleepUntil(nextMs, this.#wake.signal);
    }
  }

  /** Begins all that is due. @returns When to ask again, if nothing happens. */
  async #turn(): Promise<number> {
    const { clock, nowMs: startMs, settings } = this.#service;
    const beatInMs = this.#manager.beat(clock.monotonicMs());
    if (startMs >= this.#lookAtMs) await this.#look();
    this.#noticeStall();
    const { nowMs } = this.#service;
    let nextMs = Math.min(this.#lookAtMs, nowMs + beatInMs, this.#chores.attend());
    for (const disk of this.#watcher.disks) {
      const decision = disk.decide(settings.trigger, settings.vmId, nowMs);
      const { action, atMs } = disk.agenda(decision, nowMs);
      if (action === "look") this.#flusher.look(disk);
      else if (action === "flush") this.#flusher.flush(disk, decision?.why ?? "");
      else nextMs = Math.min(nextMs, atMs);
    }
    return nextMs;
  }

  async #look(): Promise<void> {
    // A look that is asked for meanwhile is another one.
    this.#lookAtMs = Number.POSITIVE_INFINITY;
    const nextMs = await this.#watcher.look();
    this.#lookAtMs = Math.min(this.#lookAtMs, nextMs);
  }

  #lookSoon(): void {
    this.#lookAtMs = Number.NEGATIVE_INFINITY;
    this.#wake.abort();
  }

  /** An invalid config file is refused, and the settings stay as they are. */
  #reload(): void {
    this.#isReloadWanted = false;
    const { alarms, log } = this.#service;
    this.#manager.reloading();
    try {
      this.#service.settings = this.#options.loadSettings();
      for (const disk of this.#watcher.disks) disk.facts = undefined;
      alarms.pass("config", null);
      log.write("info", "the config file was read again");
    } catch (error) {
      log.write("error", `the settings stay as they were: ${lineOf(error)}`);
      alarms.raise("config", null, error);
    }
    this.#manager.ready();
    this.#lookAtMs = Number.NEGATIVE_INFINITY;
  }

  #noticeStall(): void {
    const { alarms, clock } = this.#service;
    const { stepAtMs } = this.#flusher;
    if (stepAtMs === undefined || clock.monotonicMs() - stepAtMs < STALL_MS) {
      alarms.pass("stalled", null);
    } else alarms.raise("stalled", null, standstill());
  }
}

function standstill(): IbackupError {
  return new IbackupError("IO", "A backup does not go on", {
    why: `it has made no step for ${formatDuration(STALL_MS)}`,
    fix: "see whether the store answers: `ibackup doctor`; restarting the daemon breaks the backup off without harm",
  });
}
