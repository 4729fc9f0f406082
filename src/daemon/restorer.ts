/** Plans restores, carries them out, and remembers how they ended, also after its own end. */
import { z } from "zod";
import {
  type RestoreDocument,
  type RestorePlanDocument,
  type RestorePlanRequest,
  type RestoreRequest,
  restoreSchema,
} from "../api/restore_schemas.ts";
import { toHex } from "../core/hex.ts";
import { formatBytes, parseInstant } from "../core/units.ts";
import { errorDocument, IbackupError } from "../errors.ts";
import { SILENT_PROGRESS } from "../job/progress.ts";
import { restoreBackup } from "../job/restore.ts";
import { checkPlan, planRestore, type RestorePlan } from "../job/restore_plan.ts";
import type { RestoreOptions } from "../job/restore_task.ts";
import { readStateFile, replaceStateFile } from "../job/state_file.ts";
import { JobProgress } from "./job_progress.ts";
import { lineOf, type Service } from "./service.ts";

/** A plan is good for so long. */
const PLAN_MS_MAX = 10 * 60_000;
const PLANS_MAX = 32;
/** At the same time, each to a target of its own. */
const RUNNING_MAX = 4;
/** What was done earlier is forgotten. */
const KEPT_MAX = 20;
/** How far one has come is told at most so often. */
const TELL_MS = 250;

const fileSchema = z.array(restoreSchema);

interface KeptPlan {
  plan: RestorePlan;
  options: RestoreOptions;
  madeAtMs: number;
}

export class Restorer {
  readonly #service: Service;
  readonly #plans = new Map<string, KeptPlan>();
  /** Oldest first. */
  readonly #restores: Map<string, RestoreDocument>;
  /** By target. */
  readonly #running = new Map<string, Promise<void>>();

  constructor(service: Service) {
    this.#service = service;
    this.#restores = new Map(this.#read().map((restore) => [restore.id, restore]));
  }

  get isBusy(): boolean {
    return this.#running.size > 0;
  }

  get(id: string): RestoreDocument | undefined {
    return this.#restores.get(id);
  }

  /** Newest first. */
  list(): RestoreDocument[] {
    return [...this.#restores.values()].reverse();
  }

  /** Resolves when what is under way has ended. */
  async end(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  /** @throws IbackupError as the restore itself would; NO_KEY. */
  async plan(request: RestorePlanRequest): Promise<RestorePlanDocument> {
    const { context, clock, settings } = this.#service;
    const options = optionsOf(request, settings.vmId);
    const plan = await this.#service
      .inContext(SILENT_PROGRESS, (job) => planRestore(job, options))
      .catch((error: unknown) => {
        throw toldByDaemon(error);
      });
    const planId = toHex(context.random(16));
    this.#forgetPlans();
    const choice = { id: plan.backupId };
    const exact = { ...options, backup: { ...options.backup, choice } };
    this.#plans.set(planId, { plan, options: exact, madeAtMs: clock.monotonicMs() });
    const { fingerprint: _, ...told } = plan;
    return { planId, ...told, confirmation: plan.target.path };
  }

  /** @throws IbackupError USAGE, LOCKED, BACKUP_UNKNOWN for no such plan, TARGET_BUSY. */
  async start({ planId, confirmation, verify }: RestoreRequest): Promise<RestoreDocument> {
    this.#forgetPlans();
    const kept = this.#plans.get(planId);
    if (kept === undefined) throw noPlan();
    const { plan, options } = kept;
    const { path } = plan.target;
    if (confirmation !== path) throw notConfirmed(path);
    await checkPlan(this.#service.context, plan);
    // Whoever asked at the same time may have been faster.
    if (!this.#plans.has(planId)) throw noPlan();
    if (this.#service.isEnding) throw this.#service.context.signal.reason;
    if (this.#running.has(path)) throw underWay(path);
    if (this.#running.size >= RUNNING_MAX) throw tooMany();
    this.#plans.delete(planId);
    const restore = this.#newRestore(plan);
    this.#restores.set(restore.id, restore);
    const confirm = (opened?: string) => checkPlan(this.#service.context, plan, opened);
    const running = this.#run(restore, { ...options, verify, confirm });
    this.#running.set(path, running);
    this.#tell(restore);
    return restore;
  }

  #newRestore({ backupId, vmId, disk, sizeBytes, target }: RestorePlan): RestoreDocument {
    const { context, clock } = this.#service;
    return {
      ...{ id: toHex(context.random(8)), backupId, vmId, disk, target: target.path },
      ...{ state: "running", phase: "restoring", bytesDone: 0, bytesTotal: sizeBytes },
      ...{ startedAt: clock.now().toISOString(), endedAt: null, messages: [] },
      ...{ bytesWritten: null, verified: null, error: null },
    };
  }

  /** Never rejects. */
  async #run(restore: RestoreDocument, options: RestoreOptions): Promise<void> {
    const { clock, log } = this.#service;
    const fields = { target: restore.target, backup: restore.backupId };
    log.write("info", "a restore has begun", fields);
    try {
      // Before anything is written: a daemon that is killed then has to know of it.
      await this.#save();
      const progress = this.#progressOf(restore);
      const { bytesWritten, verified } = await this.#service.inContext(progress, (context) =>
        restoreBackup(context, options),
      );
      Object.assign(restore, { state: "done", bytesWritten, verified });
      const checked = verified === true ? ", verified" : "";
      log.write("info", `restored: ${formatBytes(bytesWritten)} written${checked}`, fields);
    } catch (error) {
      restore.state = "failed";
      restore.error = errorDocument(toldByDaemon(error)).error;
      log.write("error", lineOf(error), fields);
    }
    restore.endedAt = clock.now().toISOString();
    this.#forgetOld();
    await this.#save();
    this.#running.delete(restore.target);
    this.#tell(restore);
    this.#service.noteEnd();
  }

  #progressOf(restore: RestoreDocument): JobProgress {
    const { clock, log } = this.#service;
    let toldAtMs = Number.NEGATIVE_INFINITY;
    const progress = new JobProgress((message) => {
      const { current } = progress;
      // The second stretch of work of a restore is to read all of it back.
      if (current?.label.startsWith("verifying")) restore.phase = "verifying";
      restore.bytesDone = current?.doneBytes ?? 0;
      restore.bytesTotal = current?.totalBytes ?? restore.bytesTotal;
      restore.messages = [...progress.messages];
      if (message !== undefined) log.write("info", message, { target: restore.target });
      if (clock.monotonicMs() - toldAtMs < TELL_MS) return;
      toldAtMs = clock.monotonicMs();
      this.#tell(restore);
    });
    return progress;
  }

  #tell(restore: RestoreDocument): void {
    if (this.#service.isWatched) this.#service.emit({ kind: "restore", data: restore });
  }

  #forgetPlans(): void {
    const nowMs = this.#service.clock.monotonicMs();
    for (const [id, { madeAtMs }] of this.#plans) {
      if (nowMs - madeAtMs > PLAN_MS_MAX) this.#plans.delete(id);
    }
    for (const id of [...this.#plans.keys()].slice(0, -PLANS_MAX)) this.#plans.delete(id);
  }

  #forgetOld(): void {
    const ended = [...this.#restores.values()].filter(({ endedAt }) => endedAt !== null);
    for (const { id } of ended.slice(0, -KEPT_MAX)) this.#restores.delete(id);
  }

  /** Those that were under way when the daemon was killed have failed. */
  #read(): RestoreDocument[] {
    const { clock, log } = this.#service;
    try {
      const known = fileSchema.parse(JSON.parse(readStateFile(this.#path()) ?? "[]"));
      for (const restore of known.filter(({ state }) => state === "running")) {
        const error = brokenOff(restore.target);
        log.write("error", lineOf(error), { target: restore.target, backup: restore.backupId });
        const endedAt = clock.now().toISOString();
        Object.assign(restore, { state: "failed", endedAt, ...errorDocument(error) });
      }
      return known;
    } catch (error) {
      log.write("warning", `what was restored before is not known: ${lineOf(error)}`);
      return [];
    }
  }

  async #save(): Promise<void> {
    const { context, freezeGate, log } = this.#service;
    try {
      await freezeGate.write(() => {
        const draft = `${this.#path()}.${toHex(context.random(8))}`;
        replaceStateFile(this.#path(), draft, `${JSON.stringify([...this.#restores.values()])}\n`);
      });
    } catch (error) {
      log.write("warning", `what is restored is not remembered: ${lineOf(error)}`);
    }
  }

  #path(): string {
    return `${this.#service.context.stateDir()}/restores.json`;
  }
}

function optionsOf(request: RestorePlanRequest, vmId: string): RestoreOptions {
  const { backupId = "", at, disk, vm, target, changedOnly = false } = request;
  const choice = at === undefined ? { id: backupId } : { at: parseInstant(at) };
  return {
    backup: { choice, scope: { vmId: vm, diskName: disk }, vmId },
    ...{ target, changedOnly, verify: false },
    ...{ replay: false, partial: false, dryRun: false, force: false },
  };
}

/** A daemon is given its identity otherwise than a command. */
function toldByDaemon(error: unknown): unknown {
  if (!(error instanceof IbackupError && error.code === "NO_KEY")) return error;
  return new IbackupError("NO_KEY", error.message, {
    why: `the daemon cannot open backups: ${error.why}`,
    fix: "start it with IBACKUP_IDENTITY_FILE (`systemctl edit ibackup`), or run `ibackup restore --identity-file FILE`",
    cause: error,
  });
}

function noPlan(): IbackupError {
  return new IbackupError("BACKUP_UNKNOWN", "Cannot carry out the plan of a restore", {
    why: "there is none of that id: it was carried out, or is older than ten minutes",
    fix: "plan the restore again",
  });
}

function notConfirmed(path: string): IbackupError {
  return new IbackupError("USAGE", `Cannot restore to "${path}"`, {
    why: "what was typed is not the target's path",
    fix: "look again whether it is the target that you mean, and type its path",
  });
}

function underWay(path: string): IbackupError {
  return new IbackupError("LOCKED", `Cannot restore to "${path}"`, {
    why: "another restore to it is under way",
    fix: "wait until it has ended",
  });
}

function tooMany(): IbackupError {
  return new IbackupError("LOCKED", "Cannot restore so many backups at once", {
    why: `${RUNNING_MAX} restores are under way`,
    fix: "wait until one of them has ended",
  });
}

function brokenOff(path: string): IbackupError {
  return new IbackupError("INTERRUPTED", `Cannot tell what is on "${path}"`, {
    why: "the daemon was killed while it restored to it",
    fix: "it holds no valid copy: restore to it again",
  });
}
