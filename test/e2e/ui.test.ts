/** `ibackup ui` as it is started, in front of a daemon. */

import type { Buffer } from "node:buffer";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findDaemon } from "../../src/api/client.ts";
import { startIbackup } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

describe.runIf(canTrack())("ibackup ui", () => {
  let site: Site;
  let running: ChildProcess[];
  beforeEach(() => {
    site = new Site();
    site.init();
    running = [];
  });
  afterEach(async () => {
    for (const child of running.filter(({ exitCode }) => exitCode === null)) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    site.close();
  });

  function start(...args: string[]): ChildProcess {
    const child = startIbackup(site.machine, args, site.options);
    running.push(child);
    return child;
  }

  test("needs a daemon, and a port that is one", () => {
    const refused = site.run("ui");
    expect(refused).toMatchObject({ status: 21, stdout: "" });
    expect(refused.stderr).toContain("systemctl start ibackup");
    for (const port of ["0", "70000", "http", "-1"]) {
      expect(site.run("ui", `--port=${port}`)).toMatchObject({ status: 2, stdout: "" });
    }
  });

  test("prints one address, which opens the page and what the daemon says; tells the token nobody else", async () => {
    const source = site.machine.loopDisk("source", 8 << 20);
    const config = site.machine.path("config.toml");
    writeFileSync(config, `disks = ["${source}"]\n`, { mode: 0o600 });
    let log = "";
    const daemon = start("daemon", "--config", config);
    const answers = async () => (await findDaemon(site.machine.runtimeFolder)) !== undefined;
    await expect.poll(answers, { timeout: 10_000, interval: 20 }).toBe(true);
    const ui = start("ui");
    for (const child of [daemon, ui]) {
      child.stderr?.on("data", (piece) => {
        log += String(piece);
      });
    }
    const [line] = (await once(ui.stdout ?? ui, "data")) as [Buffer];
    const url = new URL(String(line).trim());
    const { origin } = url;
    const token = url.searchParams.get("token") ?? "";
    expect(String(line)).toBe(`${origin}/open?token=${token}\n`);

    const opened = await fetch(url, { redirect: "manual" });
    const [cookie = ""] = (opened.headers.get("set-cookie") ?? "").split(";");
    const get = async (path: string): Promise<Response> =>
      await fetch(`${origin}${path}`, { headers: { cookie } });
    for (const path of ["/", "/page.js", "/page.css", "/icon.svg"]) {
      const answer = await get(path);
      expect({ path, status: answer.status }).toEqual({ path, status: 200 });
      expect((await answer.text()).length).toBeGreaterThan(0);
    }
    const { csrf } = (await (await get("/session.json")).json()) as { csrf: string };
    expect(await (await get("/v1/status")).json()).toMatchObject({ disks: [{ device: source }] });
    const events = (await get("/v1/events")).body?.getReader();
    const first = new TextDecoder().decode((await events?.read())?.value);
    expect(first).toMatch(/^event: status\ndata: \{/);
    const flushed = await fetch(`${origin}/v1/flushes`, {
      ...{ method: "POST", body: "{}" },
      headers: { cookie, "content-type": "application/json", "x-ibackup-csrf": csrf },
    });
    expect(flushed.status).toBe(202);
    await events?.cancel();

    const told = [
      log,
      ...["cmdline", "environ"].map((it) => readFileSync(`/proc/${ui.pid}/${it}`)),
    ];
    for (const secret of [token, cookie.split("=")[1] ?? "", csrf]) {
      expect(secret).toMatch(/^[\w-]{43}$/);
      expect(told.join("\n")).not.toContain(secret);
    }
    ui.kill("SIGTERM");
    expect(await once(ui, "exit")).toEqual([0, null]);
    await expect(get("/")).rejects.toThrow();
  });
});
