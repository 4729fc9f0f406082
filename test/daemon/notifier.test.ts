import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { resolveSettings } from "../../src/config/settings.ts";
import { systemClock } from "../../src/daemon/clock.ts";
import { Notifier } from "../../src/daemon/notifier.ts";
import { Service } from "../../src/daemon/service.ts";
import { IbackupError } from "../../src/errors.ts";
import type { JobContext } from "../../src/job/context.ts";

let folder: string;
let server: Server;
let received: { method: string | undefined; url: string | undefined; body: string }[];
let log: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-notify-"));
  received = [];
  log = [];
  server = createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => {
      body += String(piece);
    });
    request.on("end", () => {
      received.push({ method: request.method, url: request.url, body });
      if (request.url?.startsWith("/hang")) return;
      response.writeHead(request.url?.startsWith("/fail") ? 500 : 200).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

function open(notify: string): { service: Service; notifier: Notifier } {
  const { port } = server.address() as AddressInfo;
  const config = join(folder, "config.toml");
  const text = notify.replaceAll("SERVER", `http://127.0.0.1:${port}`).replaceAll("FOLDER", folder);
  writeFileSync(config, `[notify]\n${text}\n`, { mode: 0o600 });
  const service = new Service({
    settings: resolveSettings({ config, vm: "web-1" }, {}),
    context: { environment: { PATH: "/bin" } } as unknown as JobContext,
    openContext: () => Promise.reject(new Error("not here")),
    clock: systemClock,
    log: { write: (level, message) => void log.push(`${level} ${message}`) },
  });
  const notifier = new Notifier(service, [join(folder, "sendmail")]);
  service.onAlarm = (change) => notifier.tell(change);
  return { service, notifier };
}

/** What stands at sendmail's place. */
function installSendmail(script: string): void {
  const text = `#!/bin/sh\n${script.replaceAll("FOLDER", folder)}\n`;
  writeFileSync(join(folder, "sendmail"), text, { mode: 0o755 });
}

const dead = new IbackupError("STORE_UNREACHABLE", "Cannot reach the store", {
  why: "it is dead",
  fix: "wait",
});

describe("Notifier", () => {
  test("tells of an alarm once, and when it has passed", async () => {
    const { service, notifier } = open('webhook = "SERVER/hook"');
    service.alarms.raise("store", null, dead);
    await notifier.ended();
    service.alarms.raise("store", null, dead);
    service.alarms.pass("store", null);
    await notifier.ended();
    const told = received.map(({ method, url, body }) => ({ method, url, ...JSON.parse(body) }));
    expect(told).toMatchObject([
      { method: "POST", url: "/hook", event: "raised", vmId: "web-1", alarm: { kind: "store" } },
      { event: "passed", alarm: { failure: { code: "STORE_UNREACHABLE" } } },
    ]);
  });

  test("runs a command, with the words in its environment and not in its line", async () => {
    const { service, notifier } = open(
      `command = 'printf "%s\\n" "$IBACKUP_EVENT" "$IBACKUP_SUBJECT" "$IBACKUP_MESSAGE" > FOLDER/told'`,
    );
    service.alarms.raise("disk", "/dev/vda", dead);
    await notifier.ended();
    const told = readFileSync(join(folder, "told"), "utf8");
    expect(told).toContain("raised\nibackup alarm: web-1 /dev/vda: Cannot reach the store\n");
    expect(told).toContain("why: it is dead\nfix: wait\n");
  });

  test("gives sendmail a letter, and nothing in a name becomes a header", async () => {
    installSendmail('echo "$@" >FOLDER/arguments; cat >FOLDER/letter');
    const { service, notifier } = open('mail = "ops@example.org"');
    const failure = new IbackupError("STORE_UNREACHABLE", 'Cannot read "a\r\nBcc: x@example.org"', {
      why: "it is dead\u0007",
      fix: "wait\n.\nuntil it is back",
    });
    service.alarms.raise("disk", "/dev/vda", failure);
    await notifier.ended();
    expect(readFileSync(join(folder, "arguments"), "utf8")).toBe("-t -oi\n");
    const letter = readFileSync(join(folder, "letter"), "utf8");
    const split = letter.indexOf("\n\n");
    expect(letter.slice(0, split).split("\n")).toEqual([
      "To: ops@example.org",
      'Subject: ibackup alarm: web-1 /dev/vda: Cannot read "a  Bcc: x@example.org"',
      "Auto-Submitted: auto-generated",
      "MIME-Version: 1.0",
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: 8bit",
    ]);
    expect(letter.slice(split)).toContain("why: it is dead \nfix: wait\n.\nuntil it is back\n");
    expect(letter).not.toContain("\r");
    expect(service.alarms.list.map(({ kind }) => kind)).toEqual(["disk"]);
  });

  test.each([
    ["", "there is no FOLDER/sendmail"],
    ["cat >/dev/null; echo secret >&2; exit 75", "it ended with status 75"],
    ["exit 0", undefined],
    ["sleep 60 & echo $! >FOLDER/child; wait", "it did not end within 1 s"],
  ])("a sendmail that does `%s` is told of as %s", async (script, why) => {
    if (script !== "") installSendmail(script);
    const { service, notifier } = open('mail = "root"\ntime-limit = "1s"');
    // More than a pipe holds.
    const failure = new IbackupError("IO", "It failed", { why: "y".repeat(1 << 20), fix: "none" });
    const startedMs = performance.now();
    service.alarms.raise("store", null, failure);
    await notifier.ended();
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    const told = service.alarms.list.filter(({ kind }) => kind === "notify");
    expect(told.map(({ failure: { why: it } }) => it)).toEqual(
      why === undefined ? [] : [why.replace("FOLDER", folder)],
    );
    expect(JSON.stringify(told)).not.toContain("secret");
    if (existsSync(join(folder, "child"))) {
      const child = Number(readFileSync(join(folder, "child"), "utf8"));
      await expect.poll(() => isAlive(child)).toBe(false);
    }
  });

  test("asks for the heartbeat's address", async () => {
    const { notifier } = open('heartbeat = "SERVER/beat"');
    notifier.beat();
    await notifier.ended();
    expect(received).toMatchObject([{ method: "GET", url: "/beat" }]);
  });

  test.each([
    'webhook = "SERVER/hang?secret=1"',
    'webhook = "SERVER/fail?secret=1"',
    'webhook = "http://user:secret@127.0.0.1:1/"',
    "command = 'sleep 60 # secret'",
    "command = 'echo secret; exit 3'",
  ])("%s is given up in time, becomes an alarm, and tells no secret", async (way) => {
    const { service, notifier } = open(`${way}\ntime-limit = "300ms"`);
    const startedMs = performance.now();
    service.alarms.raise("store", null, dead);
    await notifier.ended();
    expect(performance.now() - startedMs).toBeLessThan(3_000);
    expect(service.alarms.list.map(({ kind }) => kind)).toEqual(["store", "notify"]);
    expect(JSON.stringify([log, service.alarms.list])).not.toContain("secret");
  });
});

/** A process that has ended and was not waited for is not alive. */
function isAlive(pid: number): boolean {
  try {
    return !/^State:\tZ/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
