/**
 * Keeps what the page knows in step with the daemon.
 *
 * Events are gathered and taken over once for each frame that the browser draws. While the page is
 * hidden nothing is listened to and nothing is asked.
 */
import type { RestoreDocument } from "../api/restore_schemas.ts";
import type {
  ActivityDocument,
  BackupsDocument,
  FlushDocument,
  StatusDocument,
} from "../api/schemas.ts";
import { failureOf, get } from "./api_client.ts";
import { initialState, type PageEvent, type PageState, reduce } from "./state.ts";

type HeardBlocks = (PageEvent & { kind: "blocks" })["blocks"][number][];

const TICK_MS = 1_000;
const RETRY_MS = [500, 1_000, 2_000, 5_000];
/** More than these are not gathered: the maps are asked for anew. */
const GATHERED_MAX = 2_000;

export class Live {
  state: PageState = initialState(Date.now());
  readonly #onChange: (state: PageState) => void;
  #gathered: PageEvent[] = [];
  #isFramePending = false;
  #source: EventSource | undefined;
  #retryTimer: number | undefined;
  #failures = 0;
  /** By device: the newest backup for which the map was asked for. */
  readonly #mapped = new Map<string, string>();
  /** By device: the blocks that turned dirty since its map was asked for. */
  readonly #heardSince = new Map<string, HeardBlocks>();

  constructor(onChange: (state: PageState) => void) {
    this.#onChange = onChange;
    document.addEventListener("visibilitychange", () => this.#attend());
    setInterval(() => {
      if (!document.hidden) this.#take({ kind: "tick" });
    }, TICK_MS);
    this.#attend();
  }

  /** Reads the catalogue again. */
  readonly readBackups = (): void => {
    get<BackupsDocument>("/v1/backups").then(
      (backups) => this.#take({ kind: "backups", backups }),
      (error: unknown) => this.#take({ kind: "backupsFailed", failure: failureOf(error) }),
    );
  };

  #attend(): void {
    if (document.hidden) this.#hangUp();
    else if (this.#source === undefined) this.#connect();
  }

  #hangUp(): void {
    clearTimeout(this.#retryTimer);
    this.#source?.close();
    this.#source = undefined;
  }

  #connect(): void {
    this.#hangUp();
    const source = new EventSource("/v1/events");
    this.#source = source;
    source.onopen = () => this.#connected();
    source.onerror = () => {
      this.#hangUp();
      this.#take({ kind: "lost" });
      const pause = RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
      this.#retryTimer = window.setTimeout(() => this.#attend(), pause);
    };
    const listen = <T>(name: string, hear: (data: T) => void): void =>
      source.addEventListener(name, ({ data }) => hear(JSON.parse(data as string) as T));
    listen<StatusDocument>("status", (status) => this.#hearStatus(status));
    listen<FlushDocument>("flush", (flush) => this.#hearFlush(flush));
    listen<RestoreDocument>("restore", (restore) => this.#take({ kind: "restore", restore }));
    listen<HeardBlocks>("blocks", (blocks) => {
      for (const heard of this.#heardSince.values()) heard.push(...blocks);
      this.#take({ kind: "blocks", blocks });
    });
  }

  #connected(): void {
    this.#failures = 0;
    this.#mapped.clear();
    this.#take({ kind: "connected" });
    this.readBackups();
    const take = ({ restores }: { restores: RestoreDocument[] }): void =>
      this.#take({ kind: "restores", restores });
    get<{ restores: RestoreDocument[] }>("/v1/restores").then(take, () => undefined);
  }

  #hearStatus(status: StatusDocument): void {
    this.#take({ kind: "status", status });
    for (const { device, isTracked, newest } of status.disks) {
      const key = `${isTracked} ${newest?.backupId}`;
      const before = this.#mapped.get(device);
      if (before === key) continue;
      this.#mapped.set(device, key);
      if (isTracked) this.#readMap(device);
      if (before !== undefined) this.readBackups();
    }
  }

  #hearFlush(flush: FlushDocument): void {
    this.#take({ kind: "flush", flush });
    if (flush.endedAt === null) return;
    this.#readMap(flush.device);
    if (flush.result === null) return;
    // The next status need not make us read it again.
    this.#mapped.set(flush.device, `true ${flush.result["backupId"]}`);
    this.readBackups();
  }

  #readMap(device: string): void {
    const path = `/v1/activity?device=${encodeURIComponent(device)}`;
    const heard: HeardBlocks = [];
    this.#heardSince.set(device, heard);
    const forget = (): void => {
      if (this.#heardSince.get(device) === heard) this.#heardSince.delete(device);
    };
    get<ActivityDocument>(path).then(
      (activity) => {
        forget();
        this.#take({ kind: "activity", activity });
        // What came on the other way meanwhile may not be in it: rather counted twice than not at all.
        const blocks = heard.filter((one) => one.device === device);
        if (blocks.length > 0) this.#take({ kind: "blocks", blocks });
      },
      // Not tracked any more: the next status says so.
      forget,
    );
  }

  #take(event: PageEvent): void {
    if (this.#gathered.length >= GATHERED_MAX) {
      this.#gathered = this.#gathered.filter(({ kind }) => kind !== "blocks");
      this.#mapped.clear();
    }
    this.#gathered.push(event);
    if (this.#isFramePending) return;
    this.#isFramePending = true;
    requestAnimationFrame(() => {
      this.#isFramePending = false;
      const nowMs = Date.now();
      const events = this.#gathered.splice(0);
      this.state = events.reduce((state, one) => reduce(state, one, nowMs), this.state);
      this.#onChange(this.state);
    });
  }
}
