/** Restores that the daemon is asked for: what the page does. */
import type { ChildProcess } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findDaemon } from "../../src/api/client.ts";
import type {
  RestoreDocument,
  RestorePlanDocument,
  TargetsDocument,
} from "../../src/api/restore_schemas.ts";
import type { FlushDocument } from "../../src/api/schemas.ts";
import { type Answer, askDaemon } from "../support/daemon_api.ts";
import { digestOf, run, shell } from "../support/machine.ts";
import { startIbackup } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

type Failure = { error: { code: string; why: string; fix: string } };

describe.runIf(canTrack())("a restore by the daemon", () => {
  let site: Site;
  let source: string;
  let config: string;
  let daemon: ChildProcess | undefined;
  beforeEach(() => {
    site = new Site();
    config = site.machine.path("config.toml");
  });
  afterEach(async () => {
    await end("SIGKILL");
    site.close();
  });

  /** A source of random bytes and some holes, and a backup of it. */
  async function prepare(sizeBytes: number): Promise<string> {
    source = site.machine.loopDisk("source", sizeBytes);
    shell(`dd if=/dev/urandom of=${source} bs=1M count=${(sizeBytes >> 20) - 3} oflag=direct`);
    writeFileSync(config, `disks = ["${source}"]\n`, { mode: 0o600 });
    await start();
    return site.flush(source, "--config", config).backupId;
  }

  async function start(): Promise<void> {
    daemon = startIbackup(site.machine, ["daemon", "--config", config], site.options);
    daemon.stderr?.resume();
    const answers = async () => (await findDaemon(site.machine.runtimeFolder)) !== undefined;
    await expect.poll(answers, { timeout: 10_000, interval: 20 }).toBe(true);
  }

  async function end(signal: NodeJS.Signals): Promise<void> {
    const ended = new Promise((resolve) => daemon?.on("exit", resolve));
    if (daemon?.kill(signal)) await ended;
    daemon = undefined;
  }

  async function ask<T>(path: string, body?: object): Promise<Answer<T>> {
    return await askDaemon<T>(join(site.machine.runtimeFolder, "daemon.sock"), path, body);
  }

  async function plan(backupId: string, target: string): Promise<RestorePlanDocument> {
    const { status, document } = await ask("/v1/restores/plan", { backupId, target });
    expect({ status, document }).toMatchObject({ status: 200 });
    return document as RestorePlanDocument;
  }

  async function begin({ planId, confirmation }: RestorePlanDocument): Promise<RestoreDocument> {
    const asked = { planId, confirmation, verify: true };
    const { status, document } = await ask<RestoreDocument>("/v1/restores", asked);
    expect({ status, document }).toMatchObject({ status: 202, document: { state: "running" } });
    return document;
  }

  async function ended({ id }: RestoreDocument): Promise<RestoreDocument> {
    const look = async () => (await ask<RestoreDocument>(`/v1/restores/${id}`)).document;
    await expect
      .poll(async () => (await look()).state, { timeout: 20_000, interval: 20 })
      .not.toBe("running");
    return await look();
  }

  /** @returns What was told until now. */
  async function listen(): Promise<() => string> {
    const socketPath = join(site.machine.runtimeFolder, "daemon.sock");
    let told = "";
    const call = request({ socketPath, path: "/v1/events", headers: { host: "localhost" } });
    call.on("response", (answer) => {
      answer.on("data", (piece) => {
        told += String(piece);
      });
      answer.on("error", () => undefined);
    });
    call.on("error", () => undefined);
    call.end();
    await expect.poll(() => told).toContain("event: status");
    return () => told;
  }

  test("overwrites the disk that was planned and confirmed, and no other", async () => {
    site.init();
    const backupId = await prepare(16 << 20);
    const target = site.machine.loopDisk("target", 24 << 20);
    run("mkfs.ext4", "-q", "-L", "old", target);

    const { targets } = (await ask<TargetsDocument>("/v1/targets")).document;
    expect(targets.find(({ path }) => path === target)).toMatchObject({
      ...{ sizeBytes: 24 << 20, model: site.machine.path("target.img") },
      ...{ contents: ['ext4 "old"'], mountedAt: [], whyNot: null },
    });
    expect(targets.find(({ path }) => path === source)?.whyNot).toContain("tracked");

    const refuse = async (wanted: object, code: string): Promise<void> => {
      const { document } = await ask<Failure>("/v1/restores/plan", { backupId, ...wanted });
      expect(document).toMatchObject({ error: { code } });
    };
    await refuse({ target: source }, "TARGET_BUSY");
    await refuse({ target: "/dev/ibackup-none" }, "DEVICE");
    await refuse({ target: site.machine.loopDisk("small", 8 << 20) }, "TARGET_TOO_SMALL");
    await refuse({ target, backupId: "20200101T000000Z-00000000" }, "BACKUP_UNKNOWN");

    const planned = await plan(backupId, target);
    expect(planned).toMatchObject({
      ...{ backupId, sizeBytes: 16 << 20, chainLength: 1, confirmation: target },
      ...{ bytesToWrite: 13 << 20, bytesToZero: 3 << 20 },
      target: { path: target, kind: "disk", sizeBytes: 24 << 20, contents: ['ext4 "old"'] },
    });
    expect(planned.losses.join("\n")).toContain('ext4 "old"');

    const before = digestOf(target);
    const start = { planId: planned.planId, confirmation: target, verify: true };
    const wrong = await ask<Failure>("/v1/restores", { ...start, confirmation: `${target}1` });
    expect(wrong).toMatchObject({ status: 400, document: { error: { code: "USAGE" } } });
    expect(digestOf(target)).toBe(before);
    const folder = site.machine.mount(target);
    const mounted = await ask<Failure>("/v1/restores", start);
    expect(mounted.document.error.why).toContain(`mounted at ${folder}`);
    expect(mounted.status).toBe(409);
    site.machine.unmount(folder);

    // Another content than was told to be lost.
    const first = await plan(backupId, target);
    run("mkfs.ext4", "-q", "-F", "-L", "new", target);
    const changed = await ask<Failure>("/v1/restores", { ...start, planId: first.planId });
    expect(changed).toMatchObject({ status: 409, document: { error: { code: "TARGET_BUSY" } } });

    const events = await listen();
    const again = await plan(backupId, target);
    expect(await ended(await begin(again))).toMatchObject({
      ...{ state: "done", error: null, verified: true, bytesWritten: 13 << 20 },
      ...{ phase: "verifying", bytesDone: 16 << 20, bytesTotal: 16 << 20 },
    });
    shell(`cmp -n ${16 << 20} ${source} ${target}`);
    const told = () => [...events().matchAll(/^event: restore\ndata: (.*)$/gm)].map(([, it]) => it);
    await expect.poll(() => told().at(-1)).toContain('"state":"done"');
    expect(told()[0]).toContain('"state":"running"');
    const used = { ...start, planId: again.planId };
    expect(await ask("/v1/restores", used)).toMatchObject({ status: 404 });

    // A file that is there is not replaced.
    const file = site.machine.path("restored.img");
    await ended(await begin(await plan(backupId, file)));
    shell(`cmp ${source} ${file}`);
    await refuse({ target: file }, "TARGET_BUSY");
  });

  test("keeps nothing frozen where the daemon remembers it on the disk that is backed up", async () => {
    site.init();
    source = site.machine.loopDisk("source", 64 << 20);
    run("mkfs.ext4", "-q", source);
    const { stateFolder, cacheFolder } = site.machine;
    const mount = (folder: string, ...words: string[]): void => {
      mkdirSync(folder, { mode: 0o700 });
      run("mount", ...words, folder);
      site.machine.onClose(() => site.machine.unmount(folder));
      chmodSync(folder, 0o700);
    };
    mount(stateFolder, source);
    mkdirSync(join(stateFolder, "cache"), { mode: 0o700 });
    mount(cacheFolder, "--bind", join(stateFolder, "cache"));
    const flag = site.machine.path("frozen");
    const hooks = `[hooks]\nfrozen = "touch ${flag}; sleep 0.5"\n`;
    writeFileSync(config, `disks = ["${source}"]\n${hooks}`, { mode: 0o600 });
    await start();
    const { backupId } = site.flush(source, "--config", config);
    const planned = await plan(backupId, site.machine.path("one.img"));

    rmSync(flag);
    const asked = await ask<{ flushes: FlushDocument[] }>("/v1/flushes", { devices: [source] });
    const [flush] = asked.document.flushes;
    await expect.poll(() => existsSync(flag), { timeout: 10_000, interval: 5 }).toBe(true);
    const [restore] = await Promise.all([
      begin(planned),
      plan(backupId, site.machine.path("other.img")),
      ask("/v1/backups"),
    ]);
    const look = async () => (await ask<FlushDocument>(`/v1/flushes/${flush?.id}`)).document;
    await expect.poll(async () => (await look()).state, { timeout: 20_000 }).toBe("done");
    const { result } = await look();
    expect(result).toMatchObject({ consistency: "frozen" });
    // What would have waited for the thaw would have waited for the limit: ten seconds.
    expect(Number(result?.["freezeMs"])).toBeLessThan(5_000);
    expect(await ended(restore)).toMatchObject({ state: "done", verified: true });
  });

  test("that is killed leaves no copy that looks whole, and is told of afterwards", async () => {
    site.init();
    const backupId = await prepare(192 << 20);
    const target = site.machine.loopDisk("target", 192 << 20);
    const file = site.machine.path("restored.img");
    const plans = [await plan(backupId, target), await plan(backupId, file)];
    const restores = await Promise.all(plans.map(begin));
    const slowest = async (): Promise<number> => {
      const { restores: all } = (await ask<{ restores: RestoreDocument[] }>("/v1/restores"))
        .document;
      expect(all.map(({ state }) => state)).toEqual(["running", "running"]);
      return Math.min(...all.map(({ bytesDone }) => bytesDone));
    };
    await expect.poll(slowest, { timeout: 10_000, interval: 1 }).toBeGreaterThan(0);
    await end("SIGKILL");
    expect(existsSync(file)).toBe(false);
    expect(statSync(site.machine.path(".restored.img.ibackup-partial")).size).toBe(192 << 20);

    await start();
    for (const { id } of restores) {
      expect((await ask(`/v1/restores/${id}`)).document).toMatchObject({
        ...{ state: "failed", endedAt: expect.any(String) },
        error: { code: "INTERRUPTED", why: expect.stringContaining("killed") },
      });
    }
    const { state, verified } = await ended(await begin(await plan(backupId, target)));
    expect({ state, verified }).toEqual({ state: "done", verified: true });
    expect(digestOf(target)).toBe(digestOf(source));
  });

  test("needs the identity, which a daemon that only writes does not have", async () => {
    const { identityFile } = await site.initSealed();
    const backupId = await prepare(8 << 20);
    const target = site.machine.loopDisk("target", 8 << 20);
    const { status, document } = await ask<Failure>("/v1/restores/plan", { backupId, target });
    expect(status).toBe(403);
    expect(document.error).toMatchObject({
      ...{ code: "NO_KEY", why: expect.stringContaining("no identity was given") },
      fix: expect.stringContaining("IBACKUP_IDENTITY_FILE"),
    });
    await end("SIGTERM");
    site.extraEnvironment["IBACKUP_IDENTITY_FILE"] = identityFile;
    await start();
    await ended(await begin(await plan(backupId, target)));
    expect(digestOf(target)).toBe(digestOf(source));
  });
});
