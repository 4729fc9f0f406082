/** Tracking needs no process, and nothing that happens to one loses a written block. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, truncateSync } from "node:fs";
import { env } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { digestOf, firstDifference, run, shell } from "../support/machine.ts";
import { type Flushed, startIbackup } from "../support/program.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = 128 << 20;
const WRITE_SECONDS = env["IBACKUP_LONG"] === "1" ? 60 : 10;
const KILLS = 20;

describe.runIf(canTrack())("tracking", () => {
  let site: Site;
  let source: string;
  let target: string;
  beforeEach(() => {
    site = new Site();
    site.init();
    source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 64M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    site.must("track", "start", source);
  });
  afterEach(() => site.close());

  test(`sees ${WRITE_SECONDS} s of random writes while no process of ibackup lives`, () => {
    expect(site.flush(source)).toMatchObject({ type: "base" });
    expect(ownProcesses(site)).toEqual([]);
    const blocks = fio(source, ["--time_based", `--runtime=${WRITE_SECONDS}`, "--iodepth=8"]);
    expect(ownProcesses(site)).toEqual([]);
    expect(blocks).toBeGreaterThan(1000);
    const flushed = site.flush(source);
    expectTrusted(flushed);
    expect(flushed.blocksChanged).toBeLessThanOrEqual(blocks);
    expectRestored("latest");
  });

  test("that is stopped leaves nothing pinned", () => {
    expect(readdirSync(site.pinFolder)).not.toEqual([]);
    site.must("track", "stop");
    expect(existsSync(site.pinFolder)).toBe(false);
    expect(site.status()).toMatchObject({ session: null, devices: [] });
    // Not being tracked is fine.
    site.must("track", "stop");
  });

  test("feeds two repositories that are flushed in turn", () => {
    const random = seededRandom("two repositories");
    const urls = ["one", "two"].map((name) => `file://${site.machine.path(name)}`);
    for (const url of urls) {
      site.repo = url;
      site.init();
      expect(site.flush(source)).toMatchObject({ type: "base" });
    }
    for (let round = 0; round < 5; round++) {
      for (const url of urls) {
        scatter(source, random, 20);
        site.repo = url;
        if (random.below(3) > 0) expectTrusted(site.flush(source));
      }
    }
    scatter(source, random, 20);
    for (const url of urls) {
      site.repo = url;
      expectTrusted(site.flush(source));
      expectRestored("latest");
    }
  });

  test(`loses no block when flushes are killed, ${KILLS} times, at any moment`, async () => {
    const random = seededRandom("killed flushes");
    site.flush(source);
    const { durationMs } = site.flush(source);
    let finished = 0;
    for (let i = 0; i < KILLS; i++) {
      scatter(source, random, 200);
      const child = startIbackup(site.machine, ["flush", source], site.options);
      const ended = once(child, "exit");
      const afterMs = random.below(4 * durationMs + 250);
      const timer = setTimeout(() => child.kill("SIGKILL"), afterMs);
      const [status] = await ended;
      clearTimeout(timer);
      if (status === 0) finished += 1;
    }
    expect(finished).toBeLessThan(KILLS);
    const flushed = site.flush(source);
    expectTrusted(flushed);
    expectRestored("latest");
    const { backups } = site.json<{ backups: { backupId: string }[] }>("list");
    expect(backups.length).toBeLessThanOrEqual(3 + KILLS);
    site.must("verify", "--data");
  });

  test("that was stopped, and started after writes, makes the next flush compare", () => {
    site.flush(source);
    site.must("track", "stop");
    scatter(source, seededRandom("stopped"), 30);
    site.must("track", "start", source);
    expectCompared(site.flush(source), /tracking was started anew/);
    expectRestored("latest");
    scatter(source, seededRandom("started"), 30);
    expectTrusted(site.flush(source));
    expectRestored("latest");
  });

  test("of another session than the parent's is not believed", () => {
    site.flush(source);
    scatter(source, seededRandom("first session"), 30);
    for (let i = 0; i < 2; i++) {
      site.must("track", "stop", source);
      site.must("track", "start", source);
    }
    expectCompared(site.flush(source), /tracking was started anew/);
    expectRestored("latest");
  });

  test("that was never started makes each flush compare, and a quiet disk comes back right", () => {
    site.must("track", "stop");
    expect(site.flush(source)).toMatchObject({ type: "base", consistency: "fuzzy" });
    scatter(source, seededRandom("untracked"), 30);
    const flushed = site.flush(source);
    expectCompared(flushed, /the disk is not tracked/);
    expect(flushed).toMatchObject({ consistency: "fuzzy" });
    expect(flushed.blocksChanged).toBeLessThanOrEqual(30);
    expectRestored("latest");
    expect(site.run("flush", source, "--consistency", "quiet").status).toBe(19);
  });

  test("of a disk that grows makes the next flush compare, and the new end is there", () => {
    site.flush(source);
    truncateSync(site.machine.path("source.img"), SIZE_BYTES + 4096 + 512);
    run("losetup", "-c", source);
    const end = (SIZE_BYTES + 4096) / 512;
    shell(`head -c 512 /dev/urandom | dd of=${source} bs=512 seek=${end} oflag=direct status=none`);
    scatter(source, seededRandom("grown"), 30);
    expectCompared(site.flush(source), /resized from 134217728 to 134222336/);
    const larger = site.machine.loopDisk("larger", SIZE_BYTES + 4096 + 512);
    site.restore("latest", larger);
    expect(firstDifference(source, larger)).toBe("");
    // Taken up anew at its new size, it is tracked again.
    site.must("track", "start", source);
    site.flush(source);
    scatter(source, seededRandom("grown, tracked"), 30);
    expectTrusted(site.flush(source));
    site.restore("latest", larger);
    expect(firstDifference(source, larger)).toBe("");
  });

  test("of a disk that shrinks makes the next flush compare", () => {
    site.flush(source);
    const smaller = SIZE_BYTES - (32 << 20) - 1536;
    truncateSync(site.machine.path("source.img"), smaller);
    run("losetup", "-c", source);
    expectCompared(site.flush(source), /resized/);
    const fitting = site.machine.loopDisk("fitting", smaller);
    site.restore("latest", fitting);
    expect(firstDifference(source, fitting)).toBe("");
  });

  test("is not taken over by another medium of the same size in the same device", () => {
    site.flush(source);
    run("losetup", "-d", source);
    const image = site.machine.path("other.img");
    shell(`head -c 64M /dev/urandom > '${image}'`);
    truncateSync(image, SIZE_BYTES);
    run("losetup", "--direct-io=on", source, image);
    site.machine.onClose(() => run("losetup", "-d", source));
    const flushed = site.flush(source);
    expect(flushed.gapCheck.verdict).not.toBe("trusted");
    expectRestored("latest");
  });

  test("finds the disk again that comes back by another name", () => {
    site.flush(source, "--disk", "data");
    run("losetup", "-d", source);
    const taken = site.machine.loopDisk("taker", 1 << 20);
    const again = site.machine.attach(site.machine.path("source.img"));
    expect(again).not.toBe(taken);
    scatter(again, seededRandom("renamed"), 30);
    const flushed = site.flush(again, "--disk", "data");
    expect(flushed).toMatchObject({ type: "incremental", gapCheck: { verdict: "compared" } });
    expect(flushed.blocksChanged).toBeLessThanOrEqual(30);
    site.restore("latest", target, "--disk", "data");
    expect(digestOf(target)).toBe(digestOf(again));
  });

  test("goes on while flushes run under load, and the last, quiet one has everything", async () => {
    site.flush(source);
    const load = spawn("fio", [...fioArguments(source), "--time_based", "--runtime=6"]);
    const ended = once(load, "exit");
    for (let i = 0; i < 4; i++) expectTrusted(site.flush(source));
    await ended;
    expectTrusted(site.flush(source, "--consistency", "quiet"));
    expectRestored("latest");
  });

  function expectRestored(backup: string): void {
    site.restore(backup, target);
    expect(firstDifference(source, target)).toBe("");
  }
});

function expectTrusted(flushed: Flushed): void {
  expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
}

function expectCompared(flushed: Flushed, reason: RegExp): void {
  expect(flushed.gapCheck).toEqual({
    verdict: "compared",
    reason: expect.stringMatching(reason),
  });
}

/** Writes single blocks in places that `random` chooses. */
function scatter(device: string, random: Random, count: number): void {
  const writes = Array.from({ length: count }, () => random.below(SIZE_BYTES / 4096));
  const script = writes
    .map((seek) => `dd of=${device} bs=4096 count=1 seek=${seek} conv=notrunc status=none`)
    .map((dd) => `head -c 4096 /dev/urandom | ${dd} oflag=direct`);
  shell(script.join("\n"));
}

function fioArguments(device: string): string[] {
  const job = ["--name=load", `--filename=${device}`, "--ioengine=libaio", "--direct=1"];
  return [...job, "--rw=randwrite", "--bs=4k", "--norandommap", "--output-format=json"];
}

/** Random writes until fio ends. @returns How many. */
function fio(device: string, options: string[]): number {
  const report = JSON.parse(run("fio", ...fioArguments(device), ...options));
  return report.jobs[0].write.total_ios;
}

/** Processes of ibackup or its helper that belong to this test: its environment or pins tell. */
function ownProcesses({ pinFolder }: Site): string[] {
  const { stdout } = spawnSync("pgrep", ["-f", pinFolder], { encoding: "utf8" });
  return stdout.split("\n").filter((pid) => pid !== "" && !isGone(pid));
}

function isGone(pid: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`).length === 0;
  } catch {
    return true;
  }
}
