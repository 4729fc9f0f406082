/** What happens when two want the same disk, or the same place in a repository. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, run, shell } from "../support/machine.ts";
import { type Flushed, startIbackup } from "../support/program.ts";
import { canTrack, filesBelow, Site } from "../support/site.ts";

const SIZE_BYTES = 64 << 20;
const LOCKED = 13;
const INTERRUPTED = 130;

/** An ibackup that runs while the test goes on. */
class Running {
  readonly child: ChildProcess;
  stdout = "";
  stderr = "";

  constructor(site: Site, ...args: string[]) {
    this.child = startIbackup(site.machine, args, site.options);
    this.child.stdout?.on("data", (bytes: Uint8Array) => {
      this.stdout += String(bytes);
    });
    this.child.stderr?.on("data", (bytes: Uint8Array) => {
      this.stderr += String(bytes);
    });
    // A stopped process must not outlive the test.
    site.machine.onClose(() => this.child.kill("SIGKILL"));
  }

  /** Stops it as soon as something is so. It must not have ended by then. */
  async stopWhen(isSo: () => boolean): Promise<void> {
    await until(isSo);
    this.child.kill("SIGSTOP");
    expect(this.child.exitCode).toBeNull();
  }

  async end(): Promise<{ status: number | null; stdout: string; stderr: string }> {
    this.child.kill("SIGCONT");
    const [status] =
      this.child.exitCode === null ? await once(this.child, "close") : [this.child.exitCode];
    return { status, stdout: this.stdout, stderr: this.stderr };
  }

  async flushed(): Promise<Flushed> {
    const { status, stdout, stderr } = await this.end();
    expect({ status, stderr }).toMatchObject({ status: 0 });
    return JSON.parse(stdout) as Flushed;
  }
}

async function until(isSo: () => boolean): Promise<void> {
  for (const endsAtMs = performance.now() + 30_000; !isSo(); ) {
    if (performance.now() > endsAtMs) throw new Error("it never came to that");
    await sleep(2);
  }
}

function fill(device: string): void {
  shell(`head -c ${SIZE_BYTES} /dev/urandom | dd of=${device} bs=4M oflag=direct status=none`);
}

describe.runIf(canTrack())("two at once", () => {
  let site: Site;
  let disk: string;
  beforeEach(() => {
    site = new Site();
    site.init();
    disk = site.machine.loopDisk("disk", SIZE_BYTES);
    fill(disk);
    site.must("track", "start", disk);
  });
  afterEach(() => site.close());

  const leases = (): string[] => filesBelow(join(repository(), "leases"));
  const repository = (): string => new URL(site.repo).pathname;
  const isUnderWay = (): boolean => existsSync(join(repository(), "leases")) && leases().length > 0;

  function expectRestored(backupId: string, source: string, from = site): void {
    const target = from.machine.loopDisk("target", SIZE_BYTES);
    from.restore(backupId, target);
    expect(digestOf(target)).toBe(digestOf(source));
    run("losetup", "-d", target);
  }

  test("a second flush of a disk is refused, and the first one is not disturbed", async () => {
    const first = new Running(site, "flush", disk, "--json");
    await first.stopWhen(isUnderWay);
    const startedMs = performance.now();
    const second = site.run("flush", disk);
    expect(second).toMatchObject({ status: LOCKED, stdout: "" });
    expect(second.stderr).toMatch(
      /^error: Cannot work on .*\n {2}why: another ibackup .*\n {2}fix: /,
    );
    expect(performance.now() - startedMs).toBeLessThan(10_000);
    const { backupId } = await first.flushed();
    expectRestored(backupId, disk);
    expect(leases()).toEqual([]);
  });

  test("a second flush that may wait takes its turn", async () => {
    const first = new Running(site, "flush", disk, "--json");
    await first.stopWhen(isUnderWay);
    const second = new Running(site, "flush", "--wait", disk, "--json");
    await until(() => second.stderr.includes("waiting for another ibackup"));
    const { backupId } = await first.flushed();
    expect(await second.flushed()).toMatchObject({
      parentId: backupId,
      gapCheck: { verdict: "trusted" },
    });
  });

  test("a flush waits no longer than it may, and can be interrupted", async () => {
    const first = new Running(site, "flush", disk, "--json");
    await first.stopWhen(isUnderWay);
    expect(site.run("flush", disk, "--wait=2500ms").status).toBe(LOCKED);
    const second = new Running(site, "flush", disk, "--wait=1h");
    await until(() => second.stderr.includes("waiting for another ibackup"));
    second.child.kill("SIGINT");
    expect((await second.end()).status).toBe(INTERRUPTED);
    await first.flushed();
  });

  test("a flush during a restore to the same disk is refused, and a restore during a flush", async () => {
    const { backupId } = site.flush(disk);
    const digest = digestOf(disk);
    const restore = new Running(site, "restore", backupId, "--target", disk, "--force", "--json");
    const device = disk.replace("/dev/loop", "");
    const lockFile = join(site.machine.runtimeFolder, "locks", `7-${device}`);
    rmSync(lockFile);
    await restore.stopWhen(() => existsSync(lockFile));
    expect(site.run("flush", disk).status).toBe(LOCKED);
    expect((await restore.end()).status).toBe(0);
    expect(digestOf(disk)).toBe(digest);

    const flush = new Running(site, "flush", disk, "--scan", "--json");
    await flush.stopWhen(isUnderWay);
    const refused = site.run("restore", backupId, "--target", disk, "--force");
    expect(refused).toMatchObject({ status: LOCKED, stdout: "" });
    // Whoever only reads is in nobody's way.
    site.must("compare", backupId, disk);
    site.must("verify", "--data");
    expectRestored((await flush.flushed()).backupId, disk);
  });

  test("a flush that was killed keeps this machine from nothing", async () => {
    const killed = new Running(site, "flush", disk);
    await killed.stopWhen(isUnderWay);
    killed.child.kill("SIGKILL");
    await once(killed.child, "close");
    expect(leases()).toHaveLength(1);
    expect(site.flush(disk)).toMatchObject({ type: "base" });
    expect(leases()).toEqual([]);
  });

  describe("on two machines that use one name in one repository", () => {
    const NAME = ["--vm", "shared", "flush", "--disk", "root", "--json"];
    let other: Site;
    let otherDisk: string;
    beforeEach(() => {
      other = new Site();
      other.repo = site.repo;
      otherDisk = other.machine.loopDisk("disk", SIZE_BYTES);
      fill(otherDisk);
      other.must("track", "start", otherDisk);
    });
    afterEach(() => other.close());

    test("the second is told who is at work, and may wait", async () => {
      const first = new Running(site, ...NAME, disk);
      await first.stopWhen(isUnderWay);
      const refused = other.run(...NAME, otherDisk);
      expect(refused.status).toBe(LOCKED);
      const { why } = (JSON.parse(refused.stdout) as { error: { why: string } }).error;
      expect(why).toMatch(
        /ibackup on host ".+" \(process \d+\) has been backing up disk "root" of/,
      );
      expect(why).toContain(`(process ${first.child.pid})`);

      const second = new Running(other, ...NAME, otherDisk, "--wait=5m");
      await until(() => second.stderr.includes("waiting: ibackup on host"));
      const base = await first.flushed();
      const next = await second.flushed();
      expect(next).toMatchObject({ parentId: base.backupId, gapCheck: { verdict: "compared" } });
      expectRestored(base.backupId, disk);
      expectRestored(next.backupId, otherDisk, other);
      site.must("verify", "--data");
    });

    test("one commits where both are at work, and the other damages nothing", async () => {
      const { backupId } = await new Running(site, ...NAME, disk).flushed();
      fill(disk);
      const packs = (): number => filesBelow(join(repository(), "packs")).length;
      const before = packs();
      const slow = new Running(site, ...NAME, disk);
      // By now it has settled what it continues.
      await slow.stopWhen(() => packs() > before);
      // As if it had run out: the holder has been stopped for longer.
      rmSync(join(repository(), "leases"), { recursive: true });
      const fast = await new Running(other, ...NAME, otherDisk).flushed();
      expect(fast.parentId).toBe(backupId);

      const { status, stdout } = await slow.end();
      expect(status).toBe(LOCKED);
      const { why } = (JSON.parse(stdout) as { error: { why: string } }).error;
      expect(why).toContain("its lease had ended");
      const { backups } = site.json<{ backups: { backupId: string }[] }>("list");
      expect(backups.map((backup) => backup.backupId)).toEqual([backupId, fast.backupId]);
      expectRestored(fast.backupId, otherDisk);

      const again = await new Running(site, ...NAME, disk).flushed();
      expect(again).toMatchObject({ parentId: fast.backupId, gapCheck: { verdict: "compared" } });
      expectRestored(again.backupId, disk);
      expectRestored(fast.backupId, otherDisk);
      site.must("verify", "--data");
    });
  });
});
