import { beforeEach, describe, expect, test } from "vitest";
import { makeApp } from "../../src/api/app.ts";
import type { Control, ControlEvent } from "../../src/api/control.ts";
import type { FlushDocument, FlushRequest } from "../../src/api/schemas.ts";
import { IbackupError } from "../../src/errors.ts";
import { diskDocument, statusDocument } from "../daemon/documents.ts";

let asked: FlushRequest[];
let control: Control;
let subscribers: Set<(event: ControlEvent) => void>;

const FLUSH: FlushDocument = {
  ...{ id: "f1", device: "/dev/vda", state: "waiting", why: "asked for" },
  ...{ askedAt: "2026-11-22T00:00:00.000Z", startedAt: null, endedAt: null, progress: null },
  ...{ messages: [], result: null, failure: null },
};

beforeEach(() => {
  asked = [];
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

  test.each([
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
    expect(asked).toEqual([]);
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
      "/v1/status",
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
