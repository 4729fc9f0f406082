/** The daemon as its API sees it. */
import { realpathSync } from "node:fs";
import { pid } from "node:process";
import type { Control, ControlEvent, HookChoice } from "../api/control.ts";
import type {
  RestoreDocument,
  RestorePlanDocument,
  RestorePlanRequest,
  RestoreRequest,
  TargetsDocument,
} from "../api/restore_schemas.ts";
import type {
  ActivityDocument,
  BackupsDocument,
  FlushDocument,
  FlushRequest,
  StatusDocument,
} from "../api/schemas.ts";
import { safeUrl } from "../config/safe_url.ts";
import { IbackupError } from "../errors.ts";
import { listBackups } from "../job/catalogue.ts";
import { SILENT_PROGRESS } from "../job/progress.ts";
import { listRestorePlaces } from "../job/restore_places.ts";
import { startTracking, stopTracking } from "../job/track.ts";
import type { Chores } from "./chores.ts";
import type { Flusher } from "./flusher.ts";
import type { KeptDisk } from "./kept_disk.ts";
import { metricsText } from "./metrics.ts";
import type { Restorer } from "./restorer.ts";
import type { Service } from "./service.ts";
import type { Watcher } from "./watcher.ts";

interface Parts {
  watcher: Watcher;
  flusher: Flusher;
  chores: Chores;
  restorer: Restorer;
}

const HOOKS = { block: ["block"], buffer: ["buffer"], both: ["block", "buffer"] } as const;

export class DaemonControl implements Control {
  readonly #service: Service;
  readonly #parts: Parts;
  readonly #configFile: string | null;
  readonly #startedAt: string;
  /** Called when the disks are to be looked at. */
  onLook: () => void = () => undefined;
  onReload: () => void = () => undefined;

  constructor(service: Service, parts: Parts, configFile: string | null) {
    this.#service = service;
    this.#parts = parts;
    this.#configFile = configFile;
    this.#startedAt = service.clock.now().toISOString();
  }

  status(): StatusDocument {
    const { watcher, chores } = this.#parts;
    const { alarms, context, nowMs, settings } = this.#service;
    const { trigger, vmId, repo } = settings;
    return {
      daemon: {
        version: context.version,
        pid,
        startedAt: this.#startedAt,
        isListening: watcher.isListening,
        eventsLost: watcher.eventsLost,
        configFile: this.#configFile,
      },
      repo: repo === undefined ? null : safeUrl(repo),
      vmId,
      disks: watcher.disks.map((disk) => disk.document(disk.decide(trigger, vmId, nowMs), nowMs)),
      chores: chores.documents(),
      alarms: alarms.list,
    };
  }

  metrics(): string {
    return metricsText(this.status());
  }

  activity(device: string): ActivityDocument | undefined {
    return this.#find(device)?.activity();
  }

  flush({ devices, ...asked }: FlushRequest): FlushDocument[] {
    const disks = devices?.map((device) => this.#must(device)) ?? this.#parts.watcher.disks;
    if (disks.length === 0) throw noDisks();
    if (asked.diskName !== undefined && disks.length > 1) throw ambiguous();
    return disks.map((disk) => this.#parts.flusher.flush(disk, "asked for", asked));
  }

  flushOf(id: string): FlushDocument | undefined {
    return this.#parts.flusher.get(id);
  }

  async backups(scope: {
    vm?: string | undefined;
    disk?: string | undefined;
  }): Promise<BackupsDocument> {
    const { backups, damaged } = await this.#service.inContext(SILENT_PROGRESS, (context) =>
      listBackups(context, { vmId: scope.vm, diskName: scope.disk }),
    );
    const problems = damaged.map(({ key, error }) => ({ object: key, reason: error.why }));
    return { backups, damaged: problems };
  }

  async startTracking(devices: readonly string[], hook: HookChoice): Promise<object> {
    const started = await startTracking(this.#service.context, devices, HOOKS[hook]);
    for (const device of devices) this.#want(device, true);
    this.onLook();
    return started;
  }

  async stopTracking(devices: readonly string[]): Promise<object> {
    const all = this.#parts.watcher.disks.map(({ device }) => device);
    for (const device of devices.length > 0 ? devices : all) this.#want(device, false);
    const stopped = await stopTracking(this.#service.context, devices);
    this.onLook();
    return stopped;
  }

  async targets(): Promise<TargetsDocument> {
    const places = await listRestorePlaces(this.#service.context);
    const targets = places.map(({ obstacle, device: _, ...place }) => ({
      ...place,
      whyNot: obstacle?.why ?? null,
    }));
    return { targets };
  }

  async planRestore(request: RestorePlanRequest): Promise<RestorePlanDocument> {
    return await this.#parts.restorer.plan(request);
  }

  async restore(request: RestoreRequest): Promise<RestoreDocument> {
    return await this.#parts.restorer.start(request);
  }

  restoreOf(id: string): RestoreDocument | undefined {
    return this.#parts.restorer.get(id);
  }

  restores(): RestoreDocument[] {
    return this.#parts.restorer.list();
  }

  reload(): void {
    this.onReload();
  }

  subscribe(listener: (event: ControlEvent) => void): () => void {
    return this.#service.subscribe(listener);
  }

  #want(device: string, isWanted: boolean): void {
    const disk = this.#find(device);
    if (disk !== undefined) disk.isWanted = isWanted;
  }

  #find(device: string): KeptDisk | undefined {
    const wanted = resolved(device);
    return this.#parts.watcher.disks.find((disk) => resolved(disk.device) === wanted);
  }

  #must(device: string): KeptDisk {
    const disk = this.#find(device);
    if (disk !== undefined) return disk;
    throw new IbackupError("DEVICE", `Cannot back up "${device}"`, {
      why: "the daemon does not look after it",
      fix: "name it in `disks` of the config file, and `systemctl reload ibackup`",
    });
  }
}

/** Links of /dev/disk are other names of the same device. */
function resolved(device: string): string {
  try {
    return realpathSync(device);
  } catch {
    return device;
  }
}

function noDisks(): IbackupError {
  return new IbackupError("USAGE", "Cannot tell which disk is meant", {
    why: "the daemon looks after none",
    fix: "name some in `disks` of the config file, and `systemctl reload ibackup`",
  });
}

function ambiguous(): IbackupError {
  return new IbackupError("USAGE", "Cannot give several disks one name", {
    why: "a name in the repository stands for one disk",
    fix: "flush one device at a time, or leave diskName out",
  });
}
