import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { getuid } from "node:process";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { pageFiles, useEmbeddedPage } from "../../src/ui/assets.ts";
import { uidIn } from "../../src/ui/peer.ts";
import { serveUi } from "../../src/ui/serve.ts";
import { Session } from "../../src/ui/session.ts";
import { UiSite } from "./site.ts";

let site: UiSite;
beforeEach(() => {
  site = new UiSite();
});
afterEach(() => site.close());

const PATHS = ["/", "/page.js", "/session.json", "/v1/status", "/v1/events", "/nothing"];

describe("the token", () => {
  test("has 256 bits, opens the page once, and gives a cookie that no script and no site gets", async () => {
    expect(site.token).toMatch(/^[\w-]{43}$/);
    const opened = await site.send(`/open?token=${site.token}`);
    expect(opened).toMatchObject({ status: 303, headers: { location: "/" }, body: "" });
    expect(opened.headers["clear-site-data"]).toBe('"storage"');
    expect(opened.headers["set-cookie"]).toEqual([
      expect.stringMatching(/^ibackup_session=[\w-]{43}; HttpOnly; SameSite=Strict; Path=\/$/),
    ]);
    expect(JSON.stringify(opened.headers)).not.toContain(site.token);
    const again = await site.send(`/open?token=${site.token}`);
    expect(again).toMatchObject({ status: 403, body: expect.stringContaining("`ibackup ui`") });
    expect(again.headers["set-cookie"]).toBeUndefined();
  });

  test("is refused when it is another, and stays good", async () => {
    const { token } = site;
    const others = ["", "token=", `token=${token}x`, `token=${token.slice(1)}`, `t=${token}`];
    for (const query of [...others, `token=${token.toUpperCase()}`]) {
      expect((await site.send(`/open?${query}`)).status).toBe(403);
    }
    expect((await site.send(`/open?token=${token}`, { method: "POST" })).status).toBe(401);
    site.nowMs = 10 * 60_000;
    expect((await site.send(`/open?token=${token}`)).status).toBe(303);
  });

  test("is too old after ten minutes", async () => {
    site.nowMs = 10 * 60_000 + 1;
    expect((await site.send(`/open?token=${site.token}`)).status).toBe(403);
  });
});

describe("the session", () => {
  test("is needed for everything", async () => {
    const { cookie } = await site.open();
    const wrong = ["", `${cookie}x`, cookie.slice(0, -1), cookie.replace("session", "other")];
    for (const path of PATHS) {
      for (const sent of [...wrong, `ibackup_session=; ${cookie}`]) {
        const got = await site.send(path, { headers: { cookie: sent } });
        expect({ path, status: got.status }).toEqual({ path, status: 401 });
        expect(got.body).toMatch(/^Refused: there is no session, or it has ended\.\nRun /);
      }
    }
    expect(site.asked).toEqual([]);
  });

  test("gives the page, its files and what the daemon says, to several tabs", async () => {
    const { cookie, csrf } = await site.open();
    const headers = { cookie: `other=1; ${cookie}; more=2` };
    expect(await site.send("/", { headers })).toMatchObject({
      ...{ status: 200, body: expect.stringContaining("<title>page") },
      headers: { "content-type": "text/html; charset=utf-8" },
    });
    expect(await site.send("/page.js", { headers })).toMatchObject({ body: "page();" });
    expect(csrf).toMatch(/^[\w-]{43}$/);
    expect((await site.send("/v1/status", { headers })).body).toBe('{"fine":true}');
    expect((await site.send("/nothing", { headers })).status).toBe(404);
    const tabs = await Promise.all(Array.from({ length: 8 }, () => site.send("/", { headers })));
    expect(tabs.map(({ status }) => status)).toEqual(new Array(8).fill(200));
  });

  test("ends when it was idle for twelve hours", async () => {
    const { cookie } = await site.open();
    const look = async () => (await site.send("/", { headers: { cookie } })).status;
    site.nowMs += 12 * 3_600_000;
    expect(await look()).toBe(200);
    site.nowMs += 12 * 3_600_000;
    expect(await look()).toBe(200);
    site.nowMs += 12 * 3_600_000 + 1;
    expect(await look()).toBe(401);
    site.nowMs += 1;
    expect(await look()).toBe(401);
  });

  test("looks whose a request is only where the cookie or the token fits", () => {
    const session = new Session({ random: randomBytes, monotonicMs: () => 0 });
    const never = (): number => expect.unreachable("somebody else keeps the page from its user");
    expect(session.open("wrong", never)).toBeUndefined();
    const cookie = session.open(session.token, () => 7) ?? "";
    expect(session.open(session.token, never)).toBeUndefined();
    expect(session.admits(`${cookie}x`, never)).toBe(false);
    expect([7, 8, undefined].map((uid) => session.admits(cookie, () => uid))).toEqual([
      ...[true, false, false],
    ]);
  });

  test.runIf(getuid?.() === 0)("is of one user: another's program is refused", async () => {
    const { cookie } = await site.open();
    const url = `http://${site.host}/session.json`;
    const curl = ["curl", "-s", "-m", "5", "-b", cookie, "-w", " %{http_code}", url];
    // Not spawnSync: it is this process that answers.
    const ask = async (uid: string, from: readonly string[] = []): Promise<string> => {
      const as = [`--reuid=${uid}`, "--clear-groups"];
      const child = spawn("setpriv", [...as, ...curl, ...from]);
      return await text(child.stdout);
    };
    expect(await ask("0")).toMatch(/^\{"csrf":"[\w-]+"\} 200$/);
    expect(await ask("65534")).toMatch(/^Refused: .* 401$/s);
    // Nor that of a program which borrows the port of his browser, at another address of this machine.
    const browser = connect(site.ui.port, "127.0.0.1");
    await once(browser, "connect");
    const port = ["--local-port", String(browser.localPort)];
    expect(await ask("0", ["--interface", "127.0.0.2", ...port])).toMatch(/ 200$/);
    expect(await ask("65534", ["--interface", "127.0.0.3", ...port])).toMatch(/^Refused: .* 401$/s);
    browser.destroy();
  });
});

describe("the page's files", () => {
  test("are those that were embedded, under their paths and types", () => {
    const names = ["index.html", "page.js", "page.css", "icon.svg"];
    useEmbeddedPage(Object.fromEntries(names.map((name) => [name, `content of ${name}`])));
    expect(
      Object.entries(pageFiles()).map(([path, { type, content }]) => [path, type, content]),
    ).toEqual([
      ["/", "text/html; charset=utf-8", "content of index.html"],
      ["/page.js", "text/javascript; charset=utf-8", "content of page.js"],
      ["/page.css", "text/css; charset=utf-8", "content of page.css"],
      ["/icon.svg", "image/svg+xml", "content of icon.svg"],
    ]);
  });
});

describe("the place", () => {
  test("is the loopback address, and a port that nobody else has", async () => {
    const port = site.ui.port.toString(16).toUpperCase().padStart(4, "0");
    const listening = (table: string): string[] =>
      [...readFileSync(table, "utf8").matchAll(/^ *\d+: (\w+):(\w+) \w+:0000 0A/gm)].flatMap(
        ([, address = "", it]) => (it === port ? [address] : []),
      );
    expect(listening("/proc/net/tcp")).toEqual(["0100007F"]);
    expect(listening("/proc/net/tcp6")).toEqual([]);
    const options = { files: {}, socketPath: "/none", monotonicMs: () => 0 };
    const taken = () =>
      serveUi({ ...options, random: (n) => new Uint8Array(n), port: site.ui.port });
    expect(taken).toThrow(
      expect.objectContaining({ code: "USAGE", why: "another program listens there" }),
    );
  });

  test("tells whose program is at the other end, as long as it is there", () => {
    const line = (rest: string): string => `   0: 0100007F:A0B1 0100007F:1F90 ${rest}`;
    const tail = "00000000:00000000 00:00000000 00000000  1000        0 123 1";
    const ends = { peer: { address: "127.0.0.1", port: 0xa0b1 }, ownPort: 0x1f90 };
    expect(uidIn(`  sl  local_address\n${line(`01 ${tail}`)}\n`, ends)).toBe(1000);
    expect(uidIn(line(`06 ${tail}`), ends)).toBeUndefined();
    expect(uidIn(line(`01 ${tail}`), { ...ends, ownPort: 80 })).toBeUndefined();
    for (const other of [{ port: 80 }, { address: "127.0.0.2" }, { address: "::1" }]) {
      const peer = { ...ends.peer, ...other };
      expect(uidIn(line(`01 ${tail}`), { ...ends, peer })).toBeUndefined();
    }
    expect(uidIn("", ends)).toBeUndefined();
  });
});
