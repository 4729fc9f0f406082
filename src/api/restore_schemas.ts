/** The documents of restores. */
import { z } from "@hono/zod-openapi";
import { count, errorParts, instant, name } from "./schemas.ts";

const target = z
  .string()
  .max(4096)
  .regex(/^\/[^\0]*$/, "must be an absolute path");

export const targetsSchema = z
  .object({
    targets: z.array(
      z.object({
        path: z.string(),
        sizeBytes: count,
        model: z.string().nullable().openapi({ description: "Of a loop disk: its file" }),
        contents: z.array(z.string()).openapi({ description: "What was recognised on it" }),
        mountedAt: z.array(z.string()),
        whyNot: z
          .string()
          .nullable()
          .openapi({ description: "Why nothing can be restored to it; null: it can be" }),
      }),
    ),
  })
  .openapi("Targets");
export type TargetsDocument = z.infer<typeof targetsSchema>;

export const restorePlanRequestSchema = z
  .strictObject({
    backupId: name.optional(),
    at: instant.optional(),
    disk: name.optional(),
    vm: name.optional(),
    target,
    changedOnly: z.boolean().optional(),
  })
  .refine(({ backupId, at }) => (backupId === undefined) !== (at === undefined), {
    message: "either backupId or at says which backup is meant",
  })
  .openapi("RestorePlanRequest", { description: "`at`: the newest one not later than this" });
export type RestorePlanRequest = z.infer<typeof restorePlanRequestSchema>;

export const restorePlanSchema = z
  .object({
    planId: z.string().openapi({ description: "Good for one restore, for ten minutes" }),
    backupId: z.string(),
    vmId: z.string(),
    disk: z.string(),
    capturedAt: instant,
    sizeBytes: count,
    chainLength: count,
    target: z.object({
      path: z.string(),
      kind: z.enum(["disk", "file"]),
      sizeBytes: count.openapi({ description: "Of a new file: what it will have" }),
      contents: z.array(z.string()),
    }),
    bytesToWrite: count.openapi({ description: "With changedOnly: at most" }),
    bytesToZero: count,
    bytesToFetch: count,
    losses: z.array(z.string()).openapi({ description: "In words; empty: nothing" }),
    warnings: z.array(z.string()).openapi({ description: "What is odd about the backup" }),
    confirmation: z.string().openapi({ description: "What the user has to type" }),
  })
  .openapi("RestorePlan");
export type RestorePlanDocument = z.infer<typeof restorePlanSchema>;

export const restoreRequestSchema = z
  .strictObject({ planId: name, confirmation: z.string().max(4096), verify: z.boolean() })
  .openapi("RestoreRequest");
export type RestoreRequest = z.infer<typeof restoreRequestSchema>;

export const restoreSchema = z
  .object({
    id: z.string(),
    backupId: z.string(),
    vmId: z.string(),
    disk: z.string(),
    target: z.string(),
    state: z.enum(["running", "done", "failed"]),
    phase: z.enum(["restoring", "verifying"]),
    bytesDone: count.openapi({ description: "In this phase" }),
    bytesTotal: count.openapi({ description: "0: nobody knows yet" }),
    startedAt: instant,
    endedAt: instant.nullable(),
    messages: z.array(z.string()).openapi({ description: "The last ones" }),
    bytesWritten: count.nullable().openapi({ description: "Null until it is done" }),
    verified: z.boolean().nullable().openapi({ description: "Null: not asked for, or not yet" }),
    error: errorParts.nullable(),
  })
  .openapi("Restore");
export type RestoreDocument = z.infer<typeof restoreSchema>;

export const restoresSchema = z
  .object({ restores: z.array(restoreSchema) })
  .openapi("Restores", { description: "Newest first" });
