/** The routes of the control API. Paths and shapes are a contract: they grow, and change in /v2. */
import { createRoute, z } from "@hono/zod-openapi";
import {
  restorePlanRequestSchema,
  restorePlanSchema,
  restoreRequestSchema,
  restoreSchema,
  restoresSchema,
  targetsSchema,
} from "./restore_schemas.ts";
import {
  activitySchema,
  backupsSchema,
  errorSchema,
  flushesSchema,
  flushRequestSchema,
  flushSchema,
  healthSchema,
  scopeSchema,
  statusSchema,
  trackedSchema,
  trackRequestSchema,
  triggersSchema,
} from "./schemas.ts";

function json<T extends z.ZodType>(schema: T, description: string) {
  return { content: { "application/json": { schema } }, description };
}

function body<T extends z.ZodType>(schema: T) {
  return { content: { "application/json": { schema } }, required: true };
}

const failure = json(errorSchema, "It cannot be done");

export const statusRoute = createRoute({
  method: "get",
  path: "/v1/status",
  summary: "Daemon, disks, chores and alarms",
  responses: { 200: json(statusSchema, "All that is known") },
});

export const triggersRoute = createRoute({
  method: "get",
  path: "/v1/triggers",
  summary: "When the next backup of each disk is due, and why",
  responses: { 200: json(triggersSchema, "As far as it is known") },
});

export const healthRoute = createRoute({
  method: "get",
  path: "/v1/health",
  summary: "Whether there is an alarm",
  responses: { 200: json(healthSchema, "None"), 503: json(healthSchema, "There is") },
});

export const activityRoute = createRoute({
  method: "get",
  path: "/v1/activity",
  summary: "Where a disk has changed since its newest backup",
  request: { query: z.strictObject({ device: z.string().min(1).max(4096) }) },
  responses: { 200: json(activitySchema, "Changed blocks by place"), 400: failure, 404: failure },
});

export const flushRoute = createRoute({
  method: "post",
  path: "/v1/flushes",
  summary: "Take a backup of some disks, or of all",
  request: { body: body(flushRequestSchema) },
  responses: {
    202: json(flushesSchema, "They wait, or are under way"),
    400: failure,
    404: failure,
  },
});

export const flushStateRoute = createRoute({
  method: "get",
  path: "/v1/flushes/{id}",
  summary: "How far a flush has come, and how it ended",
  request: { params: z.object({ id: z.string().max(64) }) },
  responses: { 200: json(flushSchema, "As of now"), 404: failure },
});

export const backupsRoute = createRoute({
  method: "get",
  path: "/v1/backups",
  summary: "The catalogue; reads the repository",
  request: { query: scopeSchema },
  responses: { 200: json(backupsSchema, "Oldest first"), 400: failure, 503: failure },
});

export const trackStartRoute = createRoute({
  method: "post",
  path: "/v1/track/start",
  summary: "Track disks from now on",
  request: { body: body(trackRequestSchema) },
  responses: { 200: json(trackedSchema, "As `ibackup track start --json`"), 400: failure },
});

export const trackStopRoute = createRoute({
  method: "post",
  path: "/v1/track/stop",
  summary: "Stop tracking disks; with no devices, all",
  request: { body: body(trackRequestSchema) },
  responses: { 200: json(trackedSchema, "As `ibackup track stop --json`"), 400: failure },
});

export const reloadRoute = createRoute({
  method: "post",
  path: "/v1/reload",
  summary: "Read the config file again, as on SIGHUP",
  responses: { 202: { description: "Asked; status tells when it was refused" } },
});

export const targetsRoute = createRoute({
  method: "get",
  path: "/v1/targets",
  summary: "The block devices of this machine, and which of them a backup can be restored to",
  responses: { 200: json(targetsSchema, "By path") },
});

export const restorePlanRoute = createRoute({
  method: "post",
  path: "/v1/restores/plan",
  summary: "What a restore would write, and what would be lost; reads the repository",
  request: { body: body(restorePlanRequestSchema) },
  responses: {
    200: json(restorePlanSchema, "It can be done"),
    ...{ 400: failure, 403: failure, 404: failure, 409: failure, 503: failure },
  },
});

export const restoreRoute = createRoute({
  method: "post",
  path: "/v1/restores",
  summary: "Carry out a plan; the target is looked at again",
  request: { body: body(restoreRequestSchema) },
  responses: {
    202: json(restoreSchema, "It is under way"),
    ...{ 400: failure, 404: failure, 409: failure },
  },
});

export const restoresRoute = createRoute({
  method: "get",
  path: "/v1/restores",
  summary: "The last restores, also those that the end of a daemon broke off",
  responses: { 200: json(restoresSchema, "Newest first") },
});

export const restoreStateRoute = createRoute({
  method: "get",
  path: "/v1/restores/{id}",
  summary: "How far a restore has come, and how it ended",
  request: { params: z.object({ id: z.string().max(64) }) },
  responses: { 200: json(restoreSchema, "As of now"), 404: failure },
});
