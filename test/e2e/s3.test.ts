/** The whole cycle over S3, and what happens when the store refuses, is not there, or dies. */
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { CEPH_CREDENTIALS, type Ceph, startCeph } from "../support/ceph.ts";
import { firstDifference, shell } from "../support/machine.ts";
import { type Flushed, type Outcome, startIbackup } from "../support/program.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = 96 << 20;

describe.runIf(canTrack())("over S3", () => {
  let ceph: Ceph;
  let site: Site;
  let source: string;
  let target: string;
  let buckets = 0;

  beforeAll(async () => {
    ceph = await startCeph();
  });
  afterAll(() => ceph.stop());
  beforeEach(async () => {
    site = new Site();
    Object.assign(site.extraEnvironment, CEPH_CREDENTIALS);
    buckets += 1;
    await ceph.createBucket(`bucket-${buckets}`);
    site.repo = ceph.url(`bucket-${buckets}/some/prefix`);
    source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 40M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
  });
  afterEach(() => site.close());

  test("a repository is made, filled, listed, shown, verified and restored", () => {
    site.init();
    const base = site.flush(source);
    expect(base).toMatchObject({ type: "base", consistency: "quiet" });
    scribble(3);
    const incremental = site.flush(source);
    expectTrusted(incremental);
    const { backups } = site.json<{ backups: { backupId: string; type: string }[] }>("list");
    expect(backups).toMatchObject([
      { backupId: base.backupId, type: "base" },
      { backupId: incremental.backupId, type: "incremental", parentId: base.backupId },
    ]);
    expect(site.must("show", incremental.backupId)).toContain(base.backupId);
    expect(site.json("verify", "--data")).toMatchObject({ healthy: true });
    expectRestored();
    expect(site.run("init", "--no-encryption").status).toBe(11);
  });

  test("a wrong secret is refused, and no part of it is told", () => {
    site.init();
    const secret = "wrongSecretThatNobodyMayRead000000000000";
    site.extraEnvironment["AWS_SECRET_ACCESS_KEY"] = secret;
    const outcome = site.run("flush", source);
    expectFailure(outcome, 15);
    expect(outcome.stderr + outcome.stdout).not.toContain(secret.slice(0, 12));
    Object.assign(site.extraEnvironment, CEPH_CREDENTIALS);
    expectNextFlushWhole("base");
  });

  test("no credentials at all are told as such", () => {
    for (const name of Object.keys(CEPH_CREDENTIALS)) delete site.extraEnvironment[name];
    site.extraEnvironment["AWS_EC2_METADATA_DISABLED"] = "true";
    expectFailure(site.run("list"), 15);
  });

  test("an unknown bucket is told", () => {
    const known = site.repo;
    site.repo = ceph.url("no-such-bucket");
    expectFailure(site.run("init", "--no-encryption"), 15);
    expectFailure(site.run("flush", source), 15);
    site.repo = known;
    site.init();
    expectNextFlushWhole("base");
  });

  test("a dead endpoint is told, and the flush after it has everything", () => {
    site.init();
    site.flush(source);
    scribble(5);
    const alive = site.repo;
    site.repo = alive.replace(/127\.0\.0\.1%3A\d+/, "127.0.0.1%3A9");
    expect(site.repo).not.toBe(alive);
    expectFailure(site.run("flush", source), 14);
    site.repo = alive;
    expectNextFlushWhole("incremental");
  });

  test("a gateway killed in the middle of an upload leaves no half backup and loses no block", async () => {
    site.init();
    site.flush(source);
    scribble(30);
    const child = startIbackup(site.machine, ["flush", source, "--json"], site.options);
    const ended = once(child, "close");
    let messages = "";
    child.stderr?.on("data", (text) => {
      messages += text;
    });
    // The dirty bits have left the kernel; it is now reading and uploading.
    await pendingFileAppears();
    await ceph.killGateway();
    const [status] = await ended;
    await ceph.startGateway();
    expectFailure({ status, stdout: "", stderr: messages }, 14);
    const { backups } = site.json<{ backups: unknown[] }>("list");
    expect(backups.length).toBe(1);
    expectNextFlushWhole("incremental");
    expect(site.json("verify", "--data")).toMatchObject({ healthy: true });
  });

  function expectFailure({ status, stderr }: Outcome, expected: number): void {
    expect({ status, stderr }).toEqual({ status: expected, stderr: expect.any(String) });
    expect(stderr).toMatch(/error: .+\n {2}why: .+\n {2}fix: .+/);
  }

  function expectNextFlushWhole(type: Flushed["type"]): void {
    const flushed = site.flush(source);
    expect(flushed).toMatchObject({ type, consistency: "quiet", taints: [] });
    if (type === "incremental") expectTrusted(flushed);
    expectRestored();
  }

  function expectTrusted(flushed: Flushed): void {
    expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
  }

  function expectRestored(): void {
    site.restore("latest", target);
    expect(firstDifference(source, target)).toBe("");
  }

  /** Overwrites so many MiB with noise. */
  function scribble(sizeMiB: number): void {
    shell(
      `head -c ${sizeMiB}M /dev/urandom | dd of=${source} bs=1M seek=7 oflag=direct iflag=fullblock status=none`,
    );
  }

  /** Resolves when a pending file of the flush that runs holds bits. */
  async function pendingFileAppears(): Promise<void> {
    const folder = join(site.machine.runtimeFolder, "pending");
    const isFilled = (): boolean =>
      readdirSync(folder, { recursive: true, encoding: "utf8" })
        .filter((name) => name.endsWith(".bits"))
        .some((name) => (statSync(join(folder, name), { throwIfNoEntry: false })?.blocks ?? 0) > 0);
    while (!isFilled()) await new Promise((resolve) => setImmediate(resolve));
  }
});
