/** Keeps an eye on the disks: which blocks turn dirty, and how things stand. */
import { IbackupError } from "../errors.ts";
import { type DiskView, NOT_TRACKED, viewDisks } from "../job/disk_view.ts";
import { startTracking } from "../job/track.ts";
import { Watching } from "../job/watching.ts";
import { KeptDisk } from "./kept_disk.ts";
import { lineOf, type Service } from "./service.ts";

/** While it listens, a look only corrects what was lost on the way. */
const LOOK_MS = 300_000;
const LOOK_MS_DEAF = 60_000;
const RETRY_MS = 5_000;

export class Watcher {
  readonly #service: Service;
  readonly #disks = new Map<string, KeptDisk>();
  #watching: Watching | undefined;
  /** Of looks, in a row. */
  #failures = 0;
  /** Of helpers before this one. */
  #eventsLost = 0;

  constructor(service: Service) {
    this.#service = service;
  }

  get disks(): KeptDisk[] {
    return [...this.#disks.values()];
  }

  get isListening(): boolean {
    return this.#watching?.isListening === true;
  }

  get eventsLost(): number {
    return this.#eventsLost + (this.#watching?.eventsLost ?? 0);
  }

  /** @throws IbackupError LOCKED while another daemon runs. */
  async open(): Promise<void> {
    const watching = await Watching.open(this.#service.context);
    watching.onBlocks = (slot, extents) => {
      const disk = this.disks.find(({ view }) => view?.slot === slot);
      if (disk === undefined) return;
      disk.hear(extents);
      const { device } = disk;
      const blocks = extents.map((extent) => ({ device, ...extent }));
      if (this.#service.isWatched) this.#service.emit({ kind: "blocks", data: blocks });
      this.#service.noteChange();
    };
    this.#watching = watching;
    void watching.ended.then(() => this.#lose(watching));
  }

  /** Looks how things stand, and takes up what is to be tracked. @returns When to look again. */
  async look(): Promise<number> {
    const { alarms, context, log, nowMs, settings } = this.#service;
    try {
      this.#show(await this.#views());
      if (await this.#takeUp()) this.#show(await this.#views());
      this.#judge();
      this.#failures = 0;
    } catch (error) {
      log.write("warning", lineOf(error));
      alarms.raise("tracking", null, error);
      await this.close();
      // Backups go on: they compare.
      this.#show(viewDisks(context, NOT_TRACKED, settings.disks));
      return nowMs + Math.min(LOOK_MS_DEAF, RETRY_MS * 2 ** this.#failures++);
    }
    return nowMs + (this.isListening ? LOOK_MS : LOOK_MS_DEAF);
  }

  async close(): Promise<void> {
    const watching = this.#watching;
    this.#watching = undefined;
    this.#eventsLost += watching?.eventsLost ?? 0;
    await watching?.close();
  }

  #show(views: readonly DiskView[]): void {
    const seen = new Set(views.map(({ device }) => device));
    for (const { device } of this.disks) if (!seen.has(device)) this.#forget(device);
    for (const view of views) {
      const disk = this.#disks.get(view.device) ?? new KeptDisk(view.device);
      this.#disks.set(view.device, disk);
      disk.see(view);
    }
  }

  async #views(): Promise<DiskView[]> {
    const { disks } = this.#service.settings;
    if (this.#watching === undefined) await this.open();
    const views = await this.#watching?.look(disks);
    if (views !== undefined) return views;
    await this.close();
    await this.open();
    return (await this.#watching?.look(disks)) ?? [];
  }

  /** Tracks what the config file names and was never tracked since. @returns Whether there was any. */
  async #takeUp(): Promise<boolean> {
    const { alarms, context, log } = this.#service;
    const fresh = this.disks.filter(
      ({ view, isWanted, wasTracked }) =>
        isWanted && !wasTracked && view?.slot === undefined && view?.failure === undefined,
    );
    for (const { device } of fresh) {
      try {
        await startTracking(context, [device], ["block"]);
        log.write("info", "tracked from now on", { device });
        alarms.pass("tracking", device);
      } catch (error) {
        alarms.raise("tracking", device, error);
      }
    }
    return fresh.length > 0;
  }

  #judge(): void {
    const { alarms } = this.#service;
    alarms.pass("tracking", null);
    for (const { device, view, isWanted, wasTracked } of this.disks) {
      if (view?.failure !== undefined) alarms.raise("tracking", device, view.failure);
      else if (view?.slot !== undefined || !isWanted) alarms.pass("tracking", device);
      else if (wasTracked) alarms.raise("tracking", device, stopped(device));
    }
    const deaf = this.#watching?.listenFailure;
    if (deaf === undefined) alarms.pass("listening", null);
    else alarms.raise("listening", null, deaf);
  }

  #forget(device: string): void {
    this.#disks.delete(device);
    this.#service.alarms.forget(device);
  }

  #lose(watching: Watching): void {
    if (this.#watching !== watching) return;
    this.#watching = undefined;
    this.#eventsLost += watching.eventsLost;
    this.#service.log.write("warning", "the helper has ended; another one is started");
    this.onLost();
  }

  /** Called when a look is due at once. */
  onLost: () => void = () => undefined;
}

function stopped(device: string): IbackupError {
  return new IbackupError("TRACKER", `"${device}" is no longer tracked`, {
    why: "tracking was stopped other than by the daemon",
    fix: `run \`ibackup track start ${device}\`; the next flush compares the whole disk where it has to`,
  });
}
