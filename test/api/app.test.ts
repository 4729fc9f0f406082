import { beforeEach, describe, expect, test } from "vitest";
import { makeApp } from "../../src/api/app.ts";
import type { Control, ControlEvent } from "../../src/api/control.ts";
import type {
  RestoreDocument,
  RestorePlanDocument,
  RestorePlanRequest,
} from "../../src/api/restore_schemas.ts";
import type { FlushDocument, FlushRequest } from "../../src/api/schemas.ts";
import { IbackupError } from "../../src/errors.ts";
import { diskDocument, statusDocument } from "../daemon/documents.ts";

let asked: FlushRequest[];
let plans: RestorePlanRequest[];
let control: Control;
let subscribers: Set<(event: ControlEvent) => void>;

const FLUSH: FlushDocument = {
  ...{ id: "f1", device: "/dev/vda", state: "waiting", why: "asked for" },
  ...{ askedAt: "2026-11-22T00:00:00.000Z", startedAt: null, endedAt: null, progress: null },
  ...{ messages: [], result: null, failure: null },
};

const PLAN: RestorePlanDocument = {
  ...{ planId: "p1", backupId: "b1", vmId: "vm", disk: "vda", sizeBytes: 8, chainLength: 1 },
  ...{ capturedAt: "2026-11-22T00:00:00.000Z", bytesToWrite: 8, bytesToZero: 0, bytesToFetch: 4 },
  target: { path: "/dev/vdb", kind: "disk", sizeBytes: 8, contents: [] },
  ...{ losses: ["all of /dev/vdb"], warnings: [], confirmation: "/dev/vdb" },
};
const RESTORE: RestoreDocument = {
  ...{ id: "r1", backupId: "b1", vmId: "vm", disk: "vda", target: "/dev/vdb", state: "running" },
  ...{ phase: "restoring", bytesDone: 0, bytesTotal: 8, startedAt: "2026-11-22T00:00:00.000Z" },
  ...{ endedAt: null, messages: [], bytesWritten: null, verified: null, error: null },
};

beforeEach(() => {
  asked = [];
  plans = [];
  subscribers = new Set();
  control = {
    status: () => statusDocument({ disks: [diskDocument()] }),
    metrics: () => "ibackup_daemon_info 1\n",
    activity: () => undefined,
    flush: (request) => {
      asked.push(request);
      return [FLUSH];
    },
    flushOf: (id) => (id === "f1" ? FLUSH : undefined),
    backups: async () => {
      throw new IbackupError("STORE_UNREACHABLE", "Cannot", { why: "dead", fix: "wait" });
    },
    startTracking: async (devices) => ({ devices }),
    stopTracking: async () => {
      throw new Error("a bug");
    },
    targets: async () => ({ targets: [] }),
    planRestore: async (request) => {
      plans.push(request);
      return PLAN;
    },
    restore: async ({ confirmation }) => {
      if (confirmation === PLAN.confirmation) return RESTORE;
      throw new IbackupError("USAGE", "Cannot restore", { why: "not so", fix: "type it" });
    },
    restoreOf: (id) => (id === "r1" ? RESTORE : undefined),
    restores: () => [RESTORE],
    reload: () => undefined,
    subscribe: (listener) => {
      subscribers.add(listener);
      return () => subscribers.delete(listener);
    },
  };
});

async function ask(path: string, request: RequestInit = {}): Promise<Response> {
  return await makeApp(control, "0.0.0").fetch(new Request(`http://localhost${path}`, request));
}

function post(body: string, contentType = "application/json"): RequestInit {
  return { method: "POST", body, headers: { "content-type": contentType } };
}

describe("the control API", () => {
  test("answers with documents", async () => {
    expect(await (await ask("/v1/status")).json()).toEqual(control.status());
    expect(await (await ask("/v1/health")).json()).toEqual({ healthy: true, alarms: [] });
    expect(await (await ask("/v1/metrics")).text()).toBe("ibackup_daemon_info 1\n");
    expect(await (await ask("/v1/flushes/f1")).json()).toEqual(FLUSH);
    const flush = await ask("/v1/flushes", post('{"devices":["/dev/vda"],"base":true}'));
    expect(flush.status).toBe(202);
    expect(asked).toEqual([{ devices: ["/dev/vda"], base: true }]);
  });

  test("plans a restore, carries it out, and tells of it", async () => {
    expect(await (await ask("/v1/targets")).json()).toEqual({ targets: [] });
    const wanted = { at: "2026-11-22T00:00:00Z", disk: "vda", target: "/dev/vdb" };
    const planned = await ask("/v1/restores/plan", post(JSON.stringify(wanted)));
    expect(await planned.json()).toEqual(PLAN);
    expect(plans).toEqual([wanted]);
    const start = { planId: "p1", confirmation: "/dev/vdb", verify: true };
    const started = await ask("/v1/restores", post(JSON.stringify(start)));
    expect(started.status).toBe(202);
    expect(await started.json()).toEqual(RESTORE);
    expect(await (await ask("/v1/restores/r1")).json()).toEqual(RESTORE);
    expect(await (await ask("/v1/restores")).json()).toEqual({ restores: [RESTORE] });
  });

  test.each([
    ["/v1/restores/plan", post('{"target":"/dev/vdb"}'), 400],
    ["/v1/restores/plan", post('{"backupId":"a","at":"b","target":"/dev/vdb"}'), 400],
    ["/v1/restores/plan", post('{"backupId":"a","target":"vdb"}'), 400],
    ["/v1/restores/plan", post('{"backupId":"a","target":"/dev/vdb\\u0000"}'), 400],
    ["/v1/restores/plan", post('{"backupId":"a","target":"/dev/vdb","force":true}'), 400],
    ["/v1/restores", post('{"planId":"p1","confirmation":"/dev/vdc","verify":true}'), 400],
    ["/v1/restores", post('{"planId":"p1","confirmation":"/dev/vdb"}'), 400],
    ["/v1/restores/r2", {}, 404],
    ["/v1/flushes", post("{bad"), 400],
    ["/v1/flushes", post("[]"), 400],
    ["/v1/flushes", post('{"unknown":1}'), 400],
    ["/v1/flushes", post('{"devices":["vda"]}'), 400],
    ["/v1/flushes", post('{"devices":[]}'), 400],
    ["/v1/flushes", post('{"freeze":{"limitMs":1e9}}'), 400],
    ["/v1/flushes", post("devices=/dev/vda", "application/x-www-form-urlencoded"), 400],
    ["/v1/flushes", { method: "POST" }, 400],
    ["/v1/flushes", post(JSON.stringify({ diskName: "x".repeat(70_000) })), 413],
    ["/v1/flushes/unknown", {}, 404],
    ["/v1/nothing", {}, 404],
    ["/v1/activity?device=/dev/vdz", {}, 404],
    ["/v1/activity", {}, 400],
    ["/v1/backups?owner=me", {}, 400],
    ["/v1/backups", {}, 503],
    ["/v1/track/stop", post('{"devices":[]}'), 500],
  ])("%s %j is refused with %i, in three parts", async (path, request, status) => {
    const answer = await ask(path, request);
    expect(answer.status).toBe(status);
    const { error } = (await answer.json()) as { error: Record<string, unknown> };
    expect(error).toEqual({
      code: expect.any(String),
      exitStatus: expect.any(Number),
      what: expect.stringMatching(/./),
      why: expect.stringMatching(/./),
      fix: expect.stringMatching(/./),
    });
    expect([...asked, ...plans]).toEqual([]);
  });

  test("says in its OpenAPI document what can be asked", async () => {
    const document = (await (await ask("/v1/openapi.json")).json()) as {
      paths: Record<string, object>;
    };
    expect(Object.keys(document.paths).sort()).toEqual([
      "/v1/activity",
      "/v1/backups",
      "/v1/flushes",
      "/v1/flushes/{id}",
      "/v1/health",
      "/v1/reload",
      "/v1/restores",
      "/v1/restores/plan",
      "/v1/restores/{id}",
      "/v1/status",
      "/v1/targets",
      "/v1/track/start",
      "/v1/track/stop",
      "/v1/triggers",
    ]);
  });

  test("tells what happens, to at most 32, and forgets who went away", async () => {
    const app = makeApp(control, "0.0.0");
    const events = () => app.fetch(new Request("http://localhost/v1/events"));
    const streams = await Promise.all(Array.from({ length: 32 }, events));
    expect((await events()).status).toBe(409);
    const [reader, ...others] = streams.map((answer) => answer.body?.getReader());
    const first = new TextDecoder().decode((await reader?.read())?.value);
    expect(first).toMatch(/^event: status\ndata: \{/);
    for (const tell of subscribers) tell({ kind: "flush", data: FLUSH });
    const second = new TextDecoder().decode((await reader?.read())?.value);
    expect(second).toBe(`event: flush\ndata: ${JSON.stringify(FLUSH)}\n\n`);
    await Promise.all([reader, ...others].map((it) => it?.cancel()));
    await expect.poll(() => subscribers.size).toBe(0);
    const again = await events();
    expect(again.status).toBe(200);
    await again.body?.cancel();
  });
});
