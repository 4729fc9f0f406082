/** The control API: checks what it is asked, asks the daemon, and answers with documents. */
import { OpenAPIHono } from "@hono/zod-openapi";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { type ErrorCode, errorDocument, IbackupError } from "../errors.ts";
import type { Control } from "./control.ts";
import { streamEvents } from "./event_stream.ts";
import * as routes from "./routes.ts";
import type { StatusDocument } from "./schemas.ts";

export const BODY_BYTES_MAX = 64 << 10;
const ANSWER_MS_MAX = 60_000;
const EVENTS_PATH = "/v1/events";

const HTTP_STATUS: Readonly<Partial<Record<ErrorCode, 400 | 403 | 404 | 409 | 503>>> = {
  USAGE: 400,
  NOT_PERMITTED: 403,
  DEVICE: 404,
  BACKUP_UNKNOWN: 404,
  LOCKED: 409,
  TARGET_BUSY: 409,
  TARGET_TOO_SMALL: 409,
  NO_KEY: 403,
  STORE_UNREACHABLE: 503,
  STORE_DENIED: 503,
  INTERRUPTED: 503,
};

/** @param version Of ibackup. */
export function makeApp(control: Control, version: string): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result) => {
      if (!result.success) throw badRequest(result.error.issues.map(describe).join("; "));
    },
  });
  app.use(bodyLimit({ maxSize: BODY_BYTES_MAX, onError: () => answer(tooLarge(), 413) }));
  app.use(async ({ req }, next) => {
    await (req.path === EVENTS_PATH ? next() : inTime(next()));
  });
  app.use(async ({ req }, next) => {
    // Else a body of another kind would count as an empty one, and mean all disks.
    if (req.method === "POST" && !isJson(req.header("content-type"))) throw notJson();
    await next();
  });
  app.onError((error) => answer(error));
  app.notFound(({ req }) => answer(unknownPath(req.path), 404));
  addStateRoutes(app, control);
  addActionRoutes(app, control);
  addRestoreRoutes(app, control);
  app.get(EVENTS_PATH, (context) => streamEvents(context, control));
  app.get("/v1/metrics", ({ text }) =>
    text(control.metrics(), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
  app.doc31("/v1/openapi.json", { openapi: "3.1.0", info: { title: "ibackup", version } });
  return app;
}

function addStateRoutes(app: OpenAPIHono, control: Control): void {
  app.openapi(routes.statusRoute, ({ json }) => json(control.status(), 200));
  app.openapi(routes.triggersRoute, ({ json }) => {
    const disks = control.status().disks.map(({ device, next }) => ({ device, next }));
    return json({ disks }, 200);
  });
  app.openapi(routes.healthRoute, ({ json }) => {
    const { alarms }: StatusDocument = control.status();
    const healthy = alarms.length === 0;
    return json({ healthy, alarms }, healthy ? 200 : 503);
  });
  app.openapi(routes.activityRoute, ({ req, json }) => {
    const { device } = req.valid("query");
    const activity = control.activity(device);
    if (activity === undefined) throw unknownDevice(device);
    return json(activity, 200);
  });
  app.openapi(routes.backupsRoute, async ({ req, json }) =>
    json(await control.backups(req.valid("query")), 200),
  );
}

function addActionRoutes(app: OpenAPIHono, control: Control): void {
  app.openapi(routes.flushRoute, ({ req, json }) =>
    json({ flushes: control.flush(req.valid("json")) }, 202),
  );
  app.openapi(routes.flushStateRoute, ({ req, json }) => {
    const { id } = req.valid("param");
    const flush = control.flushOf(id);
    if (flush === undefined) throw unknownFlush(id);
    return json(flush, 200);
  });
  app.openapi(routes.trackStartRoute, async ({ req, json }) => {
    const { devices, hook = "block" } = req.valid("json");
    return json({ ...(await control.startTracking(devices, hook)) }, 200);
  });
  app.openapi(routes.trackStopRoute, async ({ req, json }) => {
    return json({ ...(await control.stopTracking(req.valid("json").devices)) }, 200);
  });
  app.openapi(routes.reloadRoute, ({ body }) => {
    control.reload();
    return body(null, 202);
  });
}

function addRestoreRoutes(app: OpenAPIHono, control: Control): void {
  app.openapi(routes.targetsRoute, async ({ json }) => json(await control.targets(), 200));
  app.openapi(routes.restorePlanRoute, async ({ req, json }) =>
    json(await control.planRestore(req.valid("json")), 200),
  );
  app.openapi(routes.restoreRoute, async ({ req, json }) =>
    json(await control.restore(req.valid("json")), 202),
  );
  app.openapi(routes.restoresRoute, ({ json }) => json({ restores: control.restores() }, 200));
  app.openapi(routes.restoreStateRoute, ({ req, json }) => {
    const { id } = req.valid("param");
    const restore = control.restoreOf(id);
    if (restore === undefined) throw unknownRestore(id);
    return json(restore, 200);
  });
}

function answer(error: unknown, status = statusOf(error)): Response {
  // What hono throws for a body that is no JSON.
  const told = error instanceof HTTPException ? badRequest(error.message) : error;
  return Response.json(errorDocument(told), { status });
}

function statusOf(error: unknown): number {
  if (error instanceof IbackupError) return HTTP_STATUS[error.code] ?? 500;
  return error instanceof HTTPException ? error.status : 500;
}

async function inTime(work: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(timeoutError()), ANSWER_MS_MAX);
  await Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}

function describe({ path, message }: { path: PropertyKey[]; message: string }): string {
  return path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`;
}

const SEE = "`/v1/openapi.json` says what can be asked";

function badRequest(why: string): IbackupError {
  return new IbackupError("USAGE", "Cannot understand the request", { why, fix: SEE });
}

function isJson(contentType = ""): boolean {
  return /^application\/json *(;|$)/i.test(contentType);
}

function notJson(): IbackupError {
  return badRequest("its content type is not application/json");
}

function tooLarge(): IbackupError {
  return badRequest(`it is larger than ${BODY_BYTES_MAX} bytes`);
}

function unknownPath(path: string): IbackupError {
  return badRequest(`there is nothing at ${path.slice(0, 100)}`);
}

function unknownDevice(device: string): IbackupError {
  return new IbackupError("DEVICE", `Cannot tell where "${device}" has changed`, {
    why: "the daemon does not track it",
    fix: `run \`ibackup track start ${device}\``,
  });
}

function unknownFlush(id: string): IbackupError {
  return new IbackupError("BACKUP_UNKNOWN", `Cannot tell of the flush "${id}"`, {
    why: "the daemon knows of none with that id; it forgets those that ended long ago",
    fix: "see `ibackup list`",
  });
}

function unknownRestore(id: string): IbackupError {
  return new IbackupError("BACKUP_UNKNOWN", `Cannot tell of the restore "${id}"`, {
    why: "the daemon knows of none with that id; it forgets those that ended long ago",
    fix: "`/v1/restores` lists those that it knows",
  });
}

function timeoutError(): IbackupError {
  return new IbackupError("STORE_UNREACHABLE", "Cannot answer in time", {
    why: `it took longer than ${ANSWER_MS_MAX / 1000} s`,
    fix: "see `ibackup status`; try again later",
  });
}
