/** Requests as other sites, other programs and a broken page would send them. */
import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Got, type Sent, UiSite } from "./site.ts";

let site: UiSite;
let own: { cookie: string; "x-ibackup-csrf": string; "content-type": string };
beforeEach(async () => {
  site = new UiSite();
  const { cookie, csrf } = await site.open();
  own = { cookie, "x-ibackup-csrf": csrf, "content-type": "application/json" };
});
afterEach(() => site.close());

async function post(headers: Record<string, string>, body = "{}"): Promise<Got> {
  return await site.send("/v1/flushes", { method: "POST", headers: { ...own, ...headers }, body });
}

describe("a request", () => {
  test("is answered at two names only", async () => {
    const { port } = site.ui;
    const get = async (host: string) =>
      (await site.send("/", { headers: { ...own, host } })).status;
    expect(await get(`127.0.0.1:${port}`)).toBe(200);
    expect(await get(`localhost:${port}`)).toBe(200);
    const others = [
      ...["127.0.0.1", "localhost", `127.0.0.1:${port + 1}`, `0.0.0.0:${port}`, `[::1]:${port}`],
      ...[`evil.example:${port}`, `127.0.0.1.evil.example:${port}`, `localhost.:${port}`],
      ...[`127.1:${port}`, `2130706433:${port}`, `LOCALHOST:${port}`, `x@127.0.0.1:${port}`],
    ];
    for (const host of others)
      expect({ host, status: await get(host) }).toEqual({ host, status: 403 });
    const open = { headers: { host: `evil.example:${port}` } };
    expect((await site.send(`/open?token=${site.token}`, open)).status).toBe(403);
    expect((await post({ host: `evil.example:${port}` })).status).toBe(403);
    expect(site.asked).toEqual([]);
  });

  test("without a host, or with two, is not answered", async () => {
    for (const hosts of ["", `Host: ${site.host}\r\nHost: evil.example\r\n`]) {
      const answer = await sendRaw(
        `GET / HTTP/1.1\r\n${hosts}Cookie: ${own.cookie}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^(HTTP\/1.1 4|$)/);
      expect(answer).not.toContain("<title>");
    }
  });

  test("that another page has sent is refused", async () => {
    const { port } = site.ui;
    expect((await post({ origin: `http://${site.host}` })).status).toBe(200);
    const others = [
      ...["null", "http://evil.example", `https://${site.host}`, "http://127.0.0.1"],
      ...[`http://127.0.0.1:${port + 1}`, `http://localhost:${port}`, `http://${site.host}.evil`],
    ];
    for (const origin of others) {
      expect({ origin, status: (await post({ origin })).status }).toEqual({ origin, status: 403 });
      expect((await site.send("/", { headers: { ...own, origin } })).status).toBe(403);
    }
    for (const from of ["cross-site", "same-site", "none"]) {
      expect((await post({ "sec-fetch-site": from })).status).toBe(403);
    }
    expect((await post({ "sec-fetch-site": "same-origin" })).status).toBe(200);
    const get = async (from: string) =>
      (await site.send("/", { headers: { ...own, "sec-fetch-site": from } })).status;
    expect(await Promise.all(["none", "same-origin", "same-site", "cross-site"].map(get))).toEqual([
      ...[200, 200, 403, 403],
    ]);
    expect(site.asked).toHaveLength(2);
  });

  test("that changes anything needs what only the page knows", async () => {
    const { cookie, "x-ibackup-csrf": csrf } = own;
    for (const method of ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"]) {
      for (const wrong of [undefined, "", `${csrf}x`, csrf.slice(1), cookie]) {
        const headers = { cookie, ...(wrong !== undefined && { "x-ibackup-csrf": wrong }) };
        const got = await site.send("/v1/flushes", { method, headers });
        expect({ method, status: got.status }).toEqual({ method, status: 403 });
        expect(Object.keys(got.headers).join()).not.toContain("access-control");
      }
    }
    expect((await site.send("/", { method: "HEAD", headers: { cookie } })).status).toBe(403);
    expect(site.asked).toEqual([]);
    expect((await post({})).status).toBe(200);
    // The daemon's API has no other methods.
    expect((await site.send("/v1/flushes", { method: "PUT", headers: own })).status).toBe(404);
  });

  test("leads nowhere but to the page's files and the daemon's API", async () => {
    const paths = [
      ...["/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd"],
      ...["/v1/../../etc/passwd", "/v1/%2e%2e/page.css", "//evil.example/", "/page.js/"],
      ...["/page.js%00", "/assets.ts", "/index.html", "/v10/status", "/\\..\\etc"],
    ];
    for (const path of paths) {
      expect({ path, status: await statusOf(path) }).toEqual({ path, status: 404 });
    }
    expect(site.asked).toEqual([]);
    expect(await statusOf("/v1/a/../b?device=/dev/vda&x=%2e%2e")).toBe(200);
    expect(await statusOf("/v1/..%2fopen")).toBe(200);
    expect(site.asked).toEqual(["/v1/b?device=/dev/vda&x=%2e%2e", "/v1/..%2fopen"]);
    for (const path of ["v1/status", "*"]) {
      expect(await statusOf(path)).toBeGreaterThanOrEqual(400);
    }
    expect(site.asked).toHaveLength(2);
  });

  test("goes on to the daemon without what is the browser's, and comes back without what is not", async () => {
    site.answer = async (request) =>
      Response.json(
        { headers: Object.fromEntries(request.headers), body: await request.text() },
        { status: 409, headers: { "set-cookie": "a=b", "x-more": "1", "cache-control": "public" } },
      );
    const got = await post(
      { origin: `http://${site.host}`, te: "trailers", "x-a": "b" },
      '{"a":1}',
    );
    const { headers, body } = JSON.parse(got.body) as Record<string, Record<string, string>>;
    expect(body).toBe('{"a":1}');
    expect(Object.keys(headers ?? {}).sort()).toEqual(
      expect.arrayContaining(["content-length", "content-type", "host"]),
    );
    for (const name of ["cookie", "origin", "te", "x-a", "x-ibackup-csrf"]) {
      expect(headers).not.toHaveProperty(name);
    }
    expect(got.status).toBe(409);
    expect(got.headers).toMatchObject({ "cache-control": "no-store" });
    expect(got.headers).not.toHaveProperty("set-cookie");
    expect(got.headers).not.toHaveProperty("x-more");
  });

  test("that is too large is refused, whatever it says of its size", async () => {
    const large = "x".repeat(70_000);
    expect((await post({}, large)).status).toBe(413);
    const pieces = { "transfer-encoding": "chunked" };
    expect((await post(pieces, large)).status).toBe(413);
    expect((await post(pieces, large.repeat(20))).status).toBeGreaterThanOrEqual(400);
    expect(site.asked).toEqual([]);
    expect((await post(pieces, "{}")).status).toBe(200);
  });

  test("is told in three parts when the daemon has gone", async () => {
    await site.stopDaemon();
    const { status, body } = await site.send("/v1/status", { headers: own });
    expect(status).toBe(502);
    expect(JSON.parse(body)).toMatchObject({
      error: { code: "IO", fix: expect.stringContaining("systemctl status") },
    });
  });

  test("always gets the headers that keep others out", async () => {
    const answers: [string, Sent][] = [
      ["/", { headers: own }],
      ["/page.js", { headers: own }],
      ["/v1/status", { headers: own }],
      ["/nothing", { headers: own }],
      ["/", {}],
      ["/open?token=x", {}],
      ["/v1/flushes", { method: "POST", headers: own, body: "x".repeat(70_000) }],
      ["/", { headers: { host: "evil.example" } }],
    ];
    for (const [path, sent] of answers) {
      const { headers } = await site.send(path, sent);
      expect(headers).toMatchObject({
        "content-security-policy":
          "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
      });
    }
  });
});

describe("an answer", () => {
  test("that nobody waits for any more is no longer asked for", async () => {
    const asked = Promise.withResolvers<void>();
    const gone = Promise.withResolvers<Response>();
    site.answer = async ({ signal }) => {
      signal.addEventListener("abort", () => gone.resolve(Response.json({})));
      asked.resolve();
      return await gone.promise;
    };
    const socket = connect(site.ui.port, "127.0.0.1");
    const head = `GET /v1/backups HTTP/1.1\r\nHost: ${site.host}\r\n`;
    socket.write(`${head}Cookie: ${own.cookie}\r\n\r\n`);
    await asked.promise;
    socket.destroy();
    await gone.promise;
  }, 10_000);
});

describe("events", () => {
  test("come as they happen, and end for the daemon when the browser goes", async () => {
    const gone = Promise.withResolvers<void>();
    let tell: (event: string) => void = () => undefined;
    site.answer = ({ signal }) => {
      signal.addEventListener("abort", () => gone.resolve());
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          tell = (event) => controller.enqueue(new TextEncoder().encode(`data: ${event}\n\n`));
          tell("first");
        },
        cancel: () => gone.resolve(),
      });
      return new Response(body, { headers: { "content-type": "text/event-stream" } });
    };
    const answer = await site.begin("/v1/events", { headers: own });
    expect(answer.headers["content-type"]).toBe("text/event-stream");
    let heard = "";
    answer.on("data", (piece) => {
      heard += String(piece);
    });
    await expect.poll(() => heard).toBe("data: first\n\n");
    tell("second");
    await expect.poll(() => heard).toBe("data: first\n\ndata: second\n\n");
    answer.destroy();
    await gone.promise;
  }, 10_000);
});

/** Nothing on this side mends the path. */
async function statusOf(path: string): Promise<number> {
  const head = `GET ${path} HTTP/1.1\r\nHost: ${site.host}\r\nCookie: ${own.cookie}\r\n`;
  const [line = ""] = (await sendRaw(`${head}Connection: close\r\n\r\n`)).split("\r\n");
  return Number(line.split(" ")[1] ?? 0);
}

async function sendRaw(request: string): Promise<string> {
  const socket = connect(site.ui.port, "127.0.0.1");
  socket.write(request);
  return await text(socket).catch(() => "");
}
