/** What is done by the calendar: prune and verify. When it was done last outlives the daemon. */
import { z } from "zod";
import type { ChoreDocument } from "../api/schemas.ts";
import type { Settings } from "../config/settings.ts";
import { toHex } from "../core/hex.ts";
import { formatBytes, formatCount } from "../core/units.ts";
import { IbackupError } from "../errors.ts";
import type { JobContext } from "../job/context.ts";
import { gc } from "../job/gc.ts";
import { prune } from "../job/prune.ts";
import { readStateFile, replaceStateFile } from "../job/state_file.ts";
import { verifyShare } from "../job/verify_share.ts";
import { choreDueMs, pauseAfter } from "./agenda.ts";
import { JobProgress } from "./job_progress.ts";
import { Lane } from "./lane.ts";
import { lineOf, type Service } from "./service.ts";

type Name = ChoreDocument["name"];
const NAMES: readonly Name[] = ["prune", "verify"];

/** As `ibackup gc` takes it for granted. */
const GRACE_MS = 72 * 3_600_000;

const instant = z.iso.datetime().nullable();
const stateSchema = z.object({
  lastAt: instant,
  succeededAt: instant,
  outcome: z.string().nullable(),
});
const fileSchema = z.partialRecord(z.enum(["prune", "verify"]), stateSchema);

interface Chore extends z.infer<typeof stateSchema> {
  lastAt: string;
  failures: number;
  retryAtMs: number | undefined;
  isRunning: boolean;
  runs: { done: number; failed: number };
}

export class Chores {
  readonly #service: Service;
  readonly #lane = new Lane();
  readonly #chores: ReadonlyMap<Name, Chore>;

  /** One that was never done counts as done now: its next instant is still to come. */
  constructor(service: Service) {
    this.#service = service;
    const known = this.#read();
    const now = service.clock.now().toISOString();
    this.#chores = new Map(
      NAMES.map((name) => {
        const { lastAt = null, succeededAt = null, outcome = null } = known[name] ?? {};
        const fresh = { failures: 0, retryAtMs: undefined, isRunning: false };
        const runs = { done: 0, failed: 0 };
        return [name, { ...fresh, runs, lastAt: lastAt ?? now, succeededAt, outcome }];
      }),
    );
    void this.#save();
  }

  get isBusy(): boolean {
    return this.#lane.isBusy;
  }

  /** Begins nothing any more. Resolves when what is under way has ended. */
  async end(): Promise<void> {
    this.#lane.stop();
    await this.#lane.ended();
  }

  /** Begins what is due. @returns When to ask again, in milliseconds since 1970. */
  attend(): number {
    const nowMs = this.#service.nowMs;
    let nextMs = Number.POSITIVE_INFINITY;
    for (const name of NAMES) {
      const dueMs = this.#dueMs(name);
      const chore = this.#chores.get(name);
      if (dueMs === undefined || chore === undefined || chore.isRunning) continue;
      if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs);
      else this.#begin(name, chore);
    }
    return nextMs;
  }

  documents(): ChoreDocument[] {
    return NAMES.flatMap((name): ChoreDocument[] => {
      const schedule = this.#service.settings[name]?.schedule;
      const chore = this.#chores.get(name);
      if (schedule === undefined || chore === undefined) return [];
      const { isRunning, outcome, succeededAt, runs, lastAt } = chore;
      const dueMs = this.#dueMs(name) ?? Number.POSITIVE_INFINITY;
      const nextAt = Number.isFinite(dueMs) ? new Date(dueMs).toISOString() : null;
      const done = { outcome, succeededAt, runs: { ...runs }, nextAt };
      return [{ name, schedule, isRunning, lastAt: outcome === null ? null : lastAt, ...done }];
    });
  }

  #dueMs(name: Name): number | undefined {
    const schedule = this.#service.settings[name]?.schedule;
    const chore = this.#chores.get(name);
    if (schedule === undefined || chore === undefined) return undefined;
    const { lastAt, retryAtMs } = chore;
    return retryAtMs ?? choreDueMs(schedule, Date.parse(lastAt));
  }

  #begin(name: Name, chore: Chore): void {
    const { clock, log, settings } = this.#service;
    chore.isRunning = true;
    this.#lane.add(async () => {
      const startedAt = clock.now().toISOString();
      try {
        const progress = new JobProgress((message) => {
          if (message !== undefined) log.write("info", message, { chore: name });
        });
        chore.outcome = await this.#service.inContext(progress, (context) =>
          WORK[name](context, settings),
        );
        chore.succeededAt = startedAt;
        chore.runs.done += 1;
        chore.failures = 0;
        chore.retryAtMs = undefined;
        chore.lastAt = startedAt;
        this.#service.noteJob(name, null, undefined);
        log.write("info", chore.outcome, { chore: name });
      } catch (error) {
        this.#failed(name, chore, error);
      }
      chore.isRunning = false;
      await this.#save();
      this.#service.noteEnd();
    });
  }

  #failed(name: Name, chore: Chore, error: unknown): void {
    const { isEnding, log, nowMs } = this.#service;
    log.write("warning", lineOf(error), { chore: name });
    if (isEnding) return;
    chore.outcome = lineOf(error);
    chore.runs.failed += 1;
    chore.failures += 1;
    chore.retryAtMs = nowMs + pauseAfter(chore.failures, Math.random());
    // Another machine prunes: that is as good as if this one did.
    const isLocked = error instanceof IbackupError && error.code === "LOCKED";
    if (!isLocked) this.#service.noteJob(name, null, error);
  }

  #read(): z.infer<typeof fileSchema> {
    try {
      return fileSchema.parse(JSON.parse(readStateFile(this.#path()) ?? "{}"));
    } catch (error) {
      this.#service.log.write(
        "warning",
        `when chores were done last is not known: ${lineOf(error)}`,
      );
      return {};
    }
  }

  async #save(): Promise<void> {
    const { context, freezeGate, log } = this.#service;
    try {
      await freezeGate.write(() => {
        const states = Object.fromEntries(
          [...this.#chores].map(([name, { lastAt, succeededAt, outcome }]) => [
            name,
            { lastAt, succeededAt, outcome },
          ]),
        );
        const draft = `${this.#path()}.${toHex(context.random(8))}`;
        replaceStateFile(this.#path(), draft, `${JSON.stringify(states, null, 2)}\n`);
      });
    } catch (error) {
      log.write("warning", `when chores were done is not remembered: ${lineOf(error)}`);
    }
  }

  #path(): string {
    return `${this.#service.context.stateDir()}/chores.json`;
  }
}

/** Each says what it did, in words. */
const WORK: Readonly<Record<Name, (context: JobContext, settings: Settings) => Promise<string>>> = {
  prune: async (context, { prune: wanted, vmId }) => {
    if (wanted === undefined) return "not wanted any more";
    const scope = { vmId };
    const { policy } = wanted;
    const none = { backups: [], dryRun: false, simulateDays: 0, force: false };
    const { removed } = await prune(context, { ...none, policy, scope });
    const text = `${formatCount(removed.length, "backup")} removed`;
    if (!wanted.gc) return text;
    const { bytes } = await gc(context, { graceMs: GRACE_MS, dryRun: false });
    return `${text}, ${formatBytes(bytes)} freed`;
  },
  verify: async (context, { verify }) => {
    const { backups, bytesRead, problems } = await verifyShare(context, { share: verify?.data });
    const looked = `${formatCount(backups, "backup")}, ${formatBytes(bytesRead)} read`;
    const [first] = problems;
    if (first === undefined) return `no problem found: ${looked}`;
    throw new IbackupError("CORRUPT_DATA", `Found ${formatCount(problems.length, "problem")}`, {
      why: `${first.object}: ${first.reason} (${looked})`,
      fix: "run `ibackup verify`; it names all of them, and `--repair` mends what can be mended",
    });
  },
};
