/** The documents that the daemon takes and gives: their shapes, for code, checks and OpenAPI. */
import { z } from "@hono/zod-openapi";
import { FREEZE_BUDGET, FREEZE_LIMIT, PASSES_MAX } from "../config/bounds.ts";

export const instant = z.string().openapi({ format: "date-time", description: "RFC 3339, UTC" });
export const count = z.number().int().min(0);
export const name = z.string().min(1).max(256);
const device = z.string().min(1).max(4096).startsWith("/", "must be an absolute path");

export const errorParts = z
  .object({
    code: z.string().openapi({ description: "As in the table of exit statuses" }),
    exitStatus: count,
    what: z.string(),
    why: z.string(),
    fix: z.string().openapi({ description: "The next command to run or setting to change" }),
  })
  .openapi("Failure");
export const errorSchema = z.object({ error: errorParts }).openapi("Error");

const alarmSchema = z
  .object({
    kind: z.enum([
      "store",
      "disk",
      "tracking",
      "listening",
      "config",
      "prune",
      "verify",
      "stalled",
      "notify",
    ]),
    device: z.string().nullable().openapi({ description: "Null where it is about no disk" }),
    since: instant,
    failure: errorParts,
  })
  .openapi("Alarm");
export type AlarmDocument = z.infer<typeof alarmSchema>;

const progressSchema = z
  .object({ label: z.string(), doneBytes: count, totalBytes: count })
  .openapi("Progress", { description: "totalBytes 0: nobody knows" });
export type ProgressDocument = z.infer<typeof progressSchema>;

export const flushSchema = z
  .object({
    id: z.string(),
    device: z.string(),
    state: z.enum(["waiting", "running", "done", "failed"]),
    why: z.string().openapi({ description: "The trigger; it stands in the manifest" }),
    askedAt: instant,
    startedAt: instant.nullable(),
    endedAt: instant.nullable(),
    progress: progressSchema.nullable(),
    messages: z.array(z.string()).openapi({ description: "The last ones" }),
    result: z
      .record(z.string(), z.unknown())
      .nullable()
      .openapi({ description: "As `ibackup flush --json` prints it" }),
    failure: errorParts.nullable(),
  })
  .openapi("Flush");
export type FlushDocument = z.infer<typeof flushSchema>;

export const flushesSchema = z.object({ flushes: z.array(flushSchema) }).openapi("Flushes");

export const flushRequestSchema = z
  .strictObject({
    devices: z.array(device).min(1).max(256).optional(),
    diskName: name.optional(),
    base: z.boolean().optional(),
    scan: z.boolean().optional(),
    consistency: z.enum(["frozen", "quiet", "fuzzy"]).optional(),
    freeze: z
      .strictObject({
        limitMs: z.int().min(0).max(FREEZE_LIMIT.maxMs),
        budgetMs: z.int().min(1).max(FREEZE_BUDGET.maxMs),
        passesMax: z.int().min(1).max(PASSES_MAX),
      })
      .partial()
      .optional(),
  })
  .openapi("FlushRequest", { description: "Without devices: all of the daemon" });
export type FlushRequest = z.infer<typeof flushRequestSchema>;

const nextSchema = z
  .object({
    isDue: z.boolean(),
    at: instant.nullable().openapi({ description: "Null: not before more has changed" }),
    why: z.string(),
  })
  .openapi("Next");

const backupSchema = z
  .object({
    backupId: z.string(),
    vmId: z.string(),
    disk: z.string(),
    type: z.enum(["base", "incremental"]),
    capturedAt: instant,
    parentId: z.string().nullable(),
    consistency: z.enum(["frozen", "quiet", "fuzzy"]),
    blocksChanged: count,
    bytesStored: count,
    tags: z.array(z.string()),
    protected: z.boolean(),
  })
  .openapi("Backup");

const diskSchema = z
  .object({
    device: z.string(),
    diskName: z.string().nullable().openapi({ description: "In the repository, where known" }),
    sizeBytes: count.nullable(),
    isTracked: z.boolean(),
    blockBytes: count.nullable(),
    changedBlocks: count.nullable().openapi({ description: "Since the newest backup" }),
    taints: z.array(z.object({ reason: z.string(), count })),
    newest: z
      .object({ backupId: z.string(), capturedAt: instant, consistency: z.string() })
      .nullable(),
    isNewestKnown: z.boolean().openapi({ description: "False: the repository was not read yet" }),
    next: nextSchema.nullable().openapi({ description: "Null: no [trigger], or not known yet" }),
    retryAt: instant.nullable().openapi({ description: "After a failure" }),
    flush: flushSchema.nullable().openapi({ description: "Under way, or waiting" }),
    totals: z.object({
      flushesDone: count,
      flushesFailed: count,
      bytesRead: count,
      bytesStored: count,
      lastFlushMs: count.nullable(),
      lastFreezeMs: z.number().nullable(),
    }),
  })
  .openapi("Disk");
export type DiskDocument = z.infer<typeof diskSchema>;

const choreSchema = z
  .object({
    name: z.enum(["prune", "verify"]),
    schedule: z.string(),
    isRunning: z.boolean(),
    lastAt: instant.nullable(),
    outcome: z.string().nullable().openapi({ description: "In words; null before the first" }),
    succeededAt: instant.nullable(),
    runs: z.object({ done: count, failed: count }),
    nextAt: instant.nullable(),
  })
  .openapi("Chore");
export type ChoreDocument = z.infer<typeof choreSchema>;

export const statusSchema = z
  .object({
    daemon: z
      .object({
        version: z.string(),
        pid: count,
        startedAt: instant,
        isListening: z.boolean(),
        eventsLost: count,
        configFile: z.string().nullable(),
      })
      .nullable()
      .openapi({ description: "Null: no daemon runs" }),
    repo: z.string().nullable(),
    vmId: z.string(),
    disks: z.array(diskSchema),
    chores: z.array(choreSchema),
    alarms: z.array(alarmSchema),
  })
  .openapi("Status");
export type StatusDocument = z.infer<typeof statusSchema>;

export const triggersSchema = z
  .object({ disks: z.array(z.object({ device: z.string(), next: nextSchema.nullable() })) })
  .openapi("Triggers");

export const activitySchema = z
  .object({
    device: z.string(),
    blockCount: count,
    blocksPerCell: count,
    cells: z.array(count).openapi({ description: "Changed blocks in each part of the disk" }),
    unplacedBlocks: count.openapi({ description: "Changed, but not while the daemon listened" }),
  })
  .openapi("Activity");
export type ActivityDocument = z.infer<typeof activitySchema>;

export const backupsSchema = z
  .object({
    backups: z.array(backupSchema),
    damaged: z.array(z.object({ object: z.string(), reason: z.string() })),
  })
  .openapi("Backups");
export type BackupsDocument = z.infer<typeof backupsSchema>;
export const scopeSchema = z.strictObject({ vm: name.optional(), disk: name.optional() });

export const trackRequestSchema = z
  .strictObject({
    devices: z.array(device).max(256),
    hook: z.enum(["block", "buffer", "both"]).optional(),
  })
  .openapi("TrackRequest");
/** What is tracked is told by jobs, in a shape of theirs. */
export const trackedSchema = z.record(z.string(), z.unknown()).openapi("Tracked");

export const healthSchema = z
  .object({ healthy: z.boolean(), alarms: z.array(alarmSchema) })
  .openapi("Health");
