/** Takes backups, one after the other, and remembers how they ended. */
import type { FlushDocument, FlushRequest } from "../api/schemas.ts";
import { toHex } from "../core/hex.ts";
import { formatBytes, formatCount } from "../core/units.ts";
import { errorDocument, IbackupError } from "../errors.ts";
import type { JobContext } from "../job/context.ts";
import { readDiskFacts } from "../job/due.ts";
import { type FlushResult, flushDevice } from "../job/flush.ts";
import { SILENT_PROGRESS } from "../job/progress.ts";
import { pauseAfter } from "./agenda.ts";
import { JobProgress } from "./job_progress.ts";
import type { KeptDisk } from "./kept_disk.ts";
import { Lane } from "./lane.ts";
import { isOfStore, lineOf, type Service } from "./service.ts";

/** What ended earlier is forgotten. */
const ENDED_MAX = 100;
const WAITING_MAX = 64;
/** Somebody else works on the disk: no reason for an alarm, unless it lasts. */
const LOCKED_TOLERATED = 3;

type Options = Omit<FlushRequest, "devices">;

export class Flusher {
  readonly #service: Service;
  readonly #lane = new Lane();
  readonly #flushes = new Map<string, FlushDocument>();
  readonly #waiting = new Map<string, FlushDocument>();
  /** Called when a backup was taken. */
  onBackup: (disk: KeptDisk) => void = () => undefined;
  /** When the flush under way has made a step last, by the monotonic clock. */
  stepAtMs: number | undefined;

  constructor(service: Service) {
    this.#service = service;
  }

  get isBusy(): boolean {
    return this.#lane.isBusy;
  }

  get(id: string): FlushDocument | undefined {
    return this.#flushes.get(id);
  }

  /** Begins nothing any more. Resolves when what is under way has ended. */
  async end(): Promise<void> {
    this.#lane.stop();
    await this.#lane.ended();
  }

  /** Reads what the repository says of a disk. */
  look(disk: KeptDisk): void {
    const { vmId } = this.#service.settings;
    disk.isLooking = true;
    this.#lane.add(async () => {
      try {
        disk.facts = await this.#service.inContext(SILENT_PROGRESS, (context) =>
          readDiskFacts(context, { device: disk.device, vmId }),
        );
        this.#succeeded(disk);
      } catch (error) {
        this.#failed(disk, error);
      }
      disk.isLooking = false;
      this.#service.noteEnd();
    });
  }

  /**
   * @param asked Somebody has, and with what options; else [trigger] has.
   * @returns One that waits already, where it is the same.
   * @throws IbackupError LOCKED when too many wait.
   */
  flush(disk: KeptDisk, why: string, asked?: Options): FlushDocument {
    const key = JSON.stringify([disk.device, asked]);
    const same = this.#waiting.get(key);
    if (same !== undefined) return same;
    if (this.#waiting.size >= WAITING_MAX) throw tooMany();
    const flush = this.#newFlush(disk, why);
    this.#flushes.set(flush.id, flush);
    this.#waiting.set(key, flush);
    disk.flush = flush;
    const work = async (): Promise<void> => {
      this.#waiting.delete(key);
      await this.#run(disk, flush, asked);
    };
    this.#lane.add(work, asked !== undefined);
    this.#tell(flush);
    return flush;
  }

  #newFlush({ device }: KeptDisk, why: string): FlushDocument {
    const { context, clock } = this.#service;
    return {
      ...{ id: toHex(context.random(8)), device, state: "waiting", why },
      askedAt: clock.now().toISOString(),
      ...{ startedAt: null, endedAt: null, progress: null, messages: [] },
      ...{ result: null, failure: null },
    };
  }

  async #run(disk: KeptDisk, flush: FlushDocument, asked: Options | undefined): Promise<void> {
    const { clock } = this.#service;
    flush.state = "running";
    flush.startedAt = clock.now().toISOString();
    this.#tell(flush);
    try {
      await this.#take(disk, flush, asked);
    } catch (error) {
      flush.state = "failed";
      flush.failure = errorDocument(error).error;
      disk.totals.flushesFailed += 1;
      this.#failed(disk, error, asked);
    }
    flush.endedAt = clock.now().toISOString();
    flush.progress = null;
    if (disk.flush === flush) disk.flush = undefined;
    this.stepAtMs = undefined;
    this.#forgetOld();
    this.#tell(flush);
    this.#service.noteEnd();
  }

  async #take(disk: KeptDisk, flush: FlushDocument, asked: Options | undefined): Promise<void> {
    const { log, settings } = this.#service;
    const progress = this.#progressOf(flush);
    const done = await this.#service.inContext(progress, async (context) => {
      if (asked === undefined && !(await this.#isStillDue(context, disk, flush))) return undefined;
      const { freeze, hooks, vmId } = settings;
      const { diskName, base = false, scan = false, consistency = "fuzzy" } = asked ?? {};
      const result = await flushDevice(context, {
        ...{ device: disk.device, vmId, base, scan, consistency, hooks },
        ...(diskName !== undefined && { diskName }),
        ...(asked === undefined && { trigger: flush.why }),
        freeze: withoutUndefined({ ...freeze, ...asked?.freeze }),
      });
      return { result, repositoryId: (await context.openRepository()).id };
    });
    flush.state = "done";
    if (done === undefined) {
      this.#flushes.delete(flush.id);
      return;
    }
    const { hookFailure, ...result } = done.result;
    flush.result = { ...result, ...(hookFailure && errorDocument(hookFailure)) };
    disk.noteBackup(done);
    log.write("info", describe(done.result), { device: disk.device, backup: result.backupId });
    this.#succeeded(disk);
    if (hookFailure !== undefined) this.#service.alarms.raise("disk", disk.device, hookFailure);
    this.onBackup(disk);
  }

  /** Another ibackup may have taken a backup meanwhile. */
  async #isStillDue(context: JobContext, disk: KeptDisk, flush: FlushDocument): Promise<boolean> {
    const { trigger, vmId } = this.#service.settings;
    disk.facts = await readDiskFacts(context, { device: disk.device, vmId });
    const decision = disk.decide(trigger, vmId, this.#service.nowMs);
    if (decision?.isDue) flush.why = decision.why;
    return decision?.isDue === true;
  }

  #progressOf(flush: FlushDocument): JobProgress {
    const { log, clock } = this.#service;
    const progress = new JobProgress((message) => {
      this.stepAtMs = clock.monotonicMs();
      flush.progress = progress.current ?? null;
      flush.messages = [...progress.messages];
      if (message !== undefined) log.write("info", message, { device: flush.device });
      this.#service.noteChange();
    });
    this.stepAtMs = clock.monotonicMs();
    return progress;
  }

  #succeeded(disk: KeptDisk): void {
    disk.failures = 0;
    disk.retryAtMs = undefined;
    this.#service.noteJob("disk", disk.device, undefined);
  }

  /** @param asked Whoever has asked is told, and asks again if he likes. */
  #failed(disk: KeptDisk, error: unknown, asked?: Options): void {
    const { log, nowMs, isEnding } = this.#service;
    log.write("warning", lineOf(error), { device: disk.device });
    if (isEnding) return;
    if (asked !== undefined) {
      if (isOfStore(error)) this.#service.noteJob("disk", disk.device, error);
      return;
    }
    disk.failures += 1;
    disk.retryAtMs = nowMs + pauseAfter(disk.failures, Math.random());
    const isLocked = error instanceof IbackupError && error.code === "LOCKED";
    if (isLocked && disk.failures < LOCKED_TOLERATED) return;
    this.#service.noteJob("disk", disk.device, error);
  }

  #forgetOld(): void {
    const ended = [...this.#flushes.values()].filter(({ endedAt }) => endedAt !== null);
    for (const { id } of ended.slice(0, -ENDED_MAX)) this.#flushes.delete(id);
  }

  #tell(flush: FlushDocument): void {
    if (this.#service.isWatched) this.#service.emit({ kind: "flush", data: flush });
    this.#service.noteChange();
  }
}

function tooMany(): IbackupError {
  return new IbackupError("LOCKED", "Cannot take so many backups", {
    why: `${WAITING_MAX} flushes wait already`,
    fix: "wait until they have ended; `ibackup status` shows them",
  });
}

function withoutUndefined<T extends object>(fields: T): { [K in keyof T]: NonNullable<T[K]> } {
  const defined = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(defined) as { [K in keyof T]: NonNullable<T[K]> };
}

function describe({
  type,
  consistency,
  blocksChanged,
  bytesStored,
  gapCheck,
}: FlushResult): string {
  const amount = `${formatCount(blocksChanged, "block")} changed, ${formatBytes(bytesStored)} stored`;
  return `backup taken: ${type}, ${consistency}, ${amount} (${gapCheck.verdict})`;
}
