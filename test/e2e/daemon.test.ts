/** The daemon as systemd runs it: a process, on real disks. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DaemonClient, findDaemon } from "../../src/api/client.ts";
import type { StatusDocument } from "../../src/api/schemas.ts";
import { shell } from "../support/machine.ts";
import { childrenOf, signal } from "../support/processes.ts";
import { type Flushed, startIbackup } from "../support/program.ts";
import { canTrack, ownBlocks, Site } from "../support/site.ts";

describe.runIf(canTrack())("the daemon", () => {
  let site: Site;
  let source: string;
  let config: string;
  let running: { process: ChildProcess; ended: Promise<number | null>; log: () => string }[];
  beforeEach(() => {
    site = new Site();
    site.init();
    running = [];
    source = site.machine.loopDisk("source", 16 << 20);
    config = site.machine.path("config.toml");
  });
  afterEach(async () => {
    for (const { process } of running) process.kill("SIGKILL");
    await Promise.all(running.map(({ ended }) => ended));
    site.close();
  });

  function configure(text: string): void {
    const place = `repo = "${site.repo}"\ndisks = ["${source}"]\n`;
    writeFileSync(config, `${place}${text}\n`, { mode: 0o600 });
  }

  function start(environment: Record<string, string> = {}) {
    const options = { env: { ...site.options.env, ...environment } };
    const process = startIbackup(site.machine, ["daemon", "--config", config], options);
    let log = "";
    process.stderr?.on("data", (piece) => {
      log += String(piece);
    });
    const ended = new Promise<number | null>((resolve) => process.on("exit", resolve));
    const daemon = { process, ended, log: () => log };
    running.push(daemon);
    return daemon;
  }

  const socket = (): string => join(site.machine.runtimeFolder, "daemon.sock");

  async function status(): Promise<StatusDocument> {
    return await new DaemonClient(socket()).status();
  }

  async function disk(): Promise<StatusDocument["disks"][number]> {
    const [only] = (await status()).disks;
    if (only === undefined) throw new Error("the daemon has no disk");
    return only;
  }

  /** Until so many backups were taken, and the changes since are counted. */
  async function taken(count: number): Promise<void> {
    const done = async () => {
      const { flush, totals } = await disk();
      return flush === null ? totals.flushesDone : -1;
    };
    await expect.poll(() => done().catch(() => 0), { timeout: 20_000, interval: 20 }).toBe(count);
  }

  async function changed(count: number): Promise<void> {
    const seen = async () => (await disk()).changedBlocks;
    await expect.poll(seen, { timeout: 10_000, interval: 20 }).toBe(count);
  }

  function write(firstBlock: number, count: number): void {
    const to = `of=${source} bs=4096 seek=${firstBlock} count=${count} oflag=direct`;
    shell(`dd if=/dev/urandom ${to} conv=notrunc status=none`);
  }

  interface Shown {
    manifest: { trigger: string; capturedAt: string; gapCheck: string };
  }

  function shown(): Shown["manifest"] {
    return site.json<Shown>("show", "latest").manifest;
  }

  test("takes a backup when so many blocks have changed, and not before", async () => {
    configure("[trigger]\nblocks = 20");
    start();
    await taken(1);
    expect(shown()).toMatchObject({ trigger: "no backup to continue", gapCheck: "base" });
    write(100, 19);
    write(100, 19);
    await changed(19);
    expect((await disk()).totals.flushesDone).toBe(1);
    write(500, 1);
    await taken(2);
    expect(shown()).toMatchObject({ trigger: "20 changed blocks of 20", gapCheck: "trusted" });
    await changed(0);
  });

  test("takes a backup when the time has come, with all-of when both have", async () => {
    configure('[trigger]\nall = [{ every = "2s" }, { blocks = 5 }]');
    start();
    await taken(1);
    const first = Date.parse(shown().capturedAt);
    write(0, 5);
    await changed(5);
    await taken(2);
    const second = shown();
    expect(second.trigger).toBe("2 s since the last backup and 5 changed blocks of 5");
    expect(Date.parse(second.capturedAt) - first).toBeGreaterThanOrEqual(2_000);
    expect(Date.parse(second.capturedAt) - first).toBeLessThan(10_000);
    write(0, 4);
    await changed(4);
    configure('[trigger]\nevery = "2s"');
    running[0]?.process.kill("SIGHUP");
    await taken(3);
    expect(shown().trigger).toBe("2 s since the last backup");
  });

  test("killed at any moment, misses nothing and comes back; so does its helper", async () => {
    configure("[trigger]\nblocks = 1000");
    const first = start();
    await taken(1);
    write(10, 3);
    await changed(3);
    first.process.kill("SIGKILL");
    await first.ended;
    write(20, 2);
    start();
    const client = () => findDaemon(site.machine.runtimeFolder);
    await expect.poll(client, { timeout: 10_000 }).toBeDefined();
    await changed(5);
    for (const helper of childrenOf(running[1]?.process.pid ?? -1)) signal(helper, "SIGKILL");
    write(30, 1);
    await changed(6);
    await expect.poll(async () => (await status()).daemon?.isListening).toBe(true);
    const flushed = site.flush(source, "--config", config);
    expect(flushed.gapCheck.verdict).toBe("trusted");
    const blocks = await ownBlocks(site.repo, flushed.backupId);
    expect([...blocks].sort((a, b) => a - b)).toEqual([10, 11, 12, 20, 21, 30]);
    expect((await disk()).totals.flushesDone).toBe(1);
  });

  test("does what the command line asks for, and ends when it is told to", async () => {
    configure("");
    const { process, ended, log } = start();
    await expect.poll(() => existsSync(socket())).toBe(true);
    await expect.poll(async () => (await disk()).isTracked).toBe(true);
    const flush = (...args: string[]) => site.run("flush", "--config", config, "--json", ...args);
    expect(JSON.parse(flush().stdout)).toMatchObject({ type: "base" });
    expect(JSON.parse(flush("--base").stdout) as Flushed).toMatchObject({ type: "base" });
    expect((await disk()).totals.flushesDone).toBe(2);
    // The same failure, and the same exit status, as without a daemon.
    const refused = flush("--consistency", "frozen");
    expect({ status: refused.status, ...JSON.parse(refused.stdout) }).toMatchObject({
      status: 19,
      error: { code: "CONSISTENCY" },
    });
    expect(site.run("status", "--config", config).stdout).toContain("All is well: 1 disk");

    site.must("track", "stop", source);
    await expect.poll(async () => (await disk()).isTracked).toBe(false);
    expect((await status()).alarms).toEqual([]);
    site.must("track", "start", source);
    await expect.poll(async () => (await disk()).isTracked).toBe(true);

    writeFileSync(config, "disks = 7\n");
    process.kill("SIGHUP");
    await expect
      .poll(async () => (await status()).alarms.map(({ kind }) => kind))
      .toEqual(["config"]);
    expect(site.run("status").status).toBe(22);
    configure("");
    process.kill("SIGHUP");
    await expect.poll(async () => (await status()).alarms).toEqual([]);
    expect((await disk()).totals.flushesDone).toBe(2);

    process.kill("SIGTERM");
    expect(await ended).toBe(0);
    expect(log()).toMatch(/started[\s\S]*stopped/);
    expect(existsSync(socket())).toBe(false);
    expect(site.status().devices).toHaveLength(1);
  });

  test("is one, and talks to no stranger on its socket", async () => {
    configure("");
    start();
    await expect.poll(() => existsSync(socket())).toBe(true);
    const second = site.run("daemon", "--config", config);
    expect(second).toMatchObject({ status: 13, stderr: expect.stringContaining("LOCKED") });
    expect(site.run("status", "--config", config).status).toBe(0);
    running[0]?.process.kill("SIGTERM");
    await running[0]?.ended;

    symlinkSync("/dev/null", socket());
    for (const command of [["daemon"], ["status"], ["flush"]]) {
      const refused = site.run(...command, "--config", config);
      expect(refused).toMatchObject({
        status: 4,
        stderr: expect.stringContaining("symbolic link"),
      });
    }
    rmSync(socket());
    writeFileSync(socket(), "");
    expect(site.run("daemon", "--config", config).stderr).toContain("it is not a socket");
    rmSync(socket());
    const squatter = createServer();
    await new Promise<void>((resolve) => squatter.listen(socket(), resolve));
    shell(`chown nobody '${socket()}'`);
    expect(site.run("status", "--config", config).stderr).toContain("it belongs to user");
    await new Promise((resolve) => squatter.close(resolve));
  });

  test("answers 10,000 questions, and what is too large or no question, and goes on", async () => {
    configure("[trigger]\nblocks = 50");
    start();
    await taken(1);
    const client = new DaemonClient(socket());
    const ask = async (): Promise<void> => {
      for (let i = 0; i < 500; i++) await client.metrics();
    };
    write(0, 10);
    await Promise.all(Array.from({ length: 20 }, ask));
    const curl = (arguments_: string): string =>
      shell(`curl -s -m 5 --unix-socket '${socket()}' ${arguments_} http://x/v1/flushes || true`);
    const json = "-H 'content-type: application/json'";
    expect(curl(`${json} -d '{"x"'`)).toContain("Malformed JSON");
    expect(curl(`${json} -d '${"x".repeat(70_000)}'`)).toContain("larger than");
    curl(`${json} -T /dev/zero -X POST`);
    shell(
      `head -c 100000 /dev/urandom | timeout 2 nc -U -N '${socket()}' > /dev/null 2>&1 || true`,
    );
    await changed(10);
    write(100, 40);
    await taken(2);
    expect((await status()).alarms).toEqual([]);
  }, 120_000);

  test("tells systemd that it is ready, alive, reloading and ending", async () => {
    configure("");
    for (const address of [site.machine.path("notify"), `@ibackup-test-${source}`]) {
      const receiver = spawn("perl", ["-MSocket", "-e", RECEIVE, address]);
      let told = "";
      receiver.stdout.on("data", (piece) => {
        told += String(piece);
      });
      await expect.poll(() => told).toContain("listening");
      const daemon = start({ NOTIFY_SOCKET: address, WATCHDOG_USEC: "600000" });
      await expect
        .poll(() => told, { timeout: 10_000 })
        .toMatch(/READY=1[\s\S]*WATCHDOG=1[\s\S]*WATCHDOG=1/);
      daemon.process.kill("SIGHUP");
      await expect.poll(() => told).toMatch(/RELOADING=1\nMONOTONIC_USEC=\d{7,}\n[\s\S]*READY=1/);
      daemon.process.kill("SIGTERM");
      await daemon.ended;
      await expect.poll(() => told).toContain("STOPPING=1");
      receiver.kill();
    }
  });
});

/** Prints what comes as datagrams to the address that is its argument. */
const RECEIVE = `
  $| = 1;
  my $name = shift;
  $name =~ s/^@/\\0/;
  socket(my $socket, AF_UNIX, SOCK_DGRAM, 0) or die $!;
  bind($socket, pack_sockaddr_un($name)) or die $!;
  print "listening\\n";
  print "$_\\n" while defined recv($socket, $_, 65536, 0);
`;
