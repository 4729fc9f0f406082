import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { env, pid } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import type { Tracking } from "../../src/job/track.ts";
import type { Watched } from "../../src/job/watch.ts";
import { Machine, run } from "../support/machine.ts";
import { CLI, type Ended, jsonOf, runCli } from "./run_cli.ts";

// Not the machine's own session: `track stop` would end it.
const PINS = `/sys/fs/bpf/ibackup-test-cli-track-${pid}`;

let machine: Machine;
let disk: string;
let settings: Record<string, string>;

beforeEach(() => {
  machine = new Machine();
  settings = { ...machine.environment, IBACKUP_PIN_DIR: PINS };
  disk = machine.loopDisk("disk", 64 << 20);
  machine.onClose(() => track("stop"));
});
afterEach(() => machine.close());

function track(...args: string[]): Ended {
  return runCli(["track", ...args], settings);
}

function statusOf(...args: string[]): Tracking {
  return jsonOf(track("status", "--json", ...args)) as unknown as Tracking;
}

function writeBlocks(path: string, firstBlock: number, blockCount: number): void {
  const where = [`of=${path}`, `seek=${firstBlock}`, `count=${blockCount}`];
  run("dd", "if=/dev/urandom", "bs=4096", "oflag=direct", "status=none", ...where);
}

describe("track", () => {
  test("start says in one line what it did, and does nothing the second time", () => {
    const { stdout, status } = track("start", disk);
    expect(stdout).toMatch(
      new RegExp(
        `^Tracking ${disk} \\(64 MiB, blocks of 4 KiB, hook block\\) in session [0-9a-f]{32}\n$`,
      ),
    );
    expect(status).toBe(0);
    const before = statusOf();
    expect(track("start", disk).stdout).toBe(stdout.replace("Tracking", "Already tracking"));
    expect(statusOf()).toEqual(before);
  });

  test("status tells what was written, with no process alive in between", () => {
    track("start", disk);
    writeBlocks(disk, 100, 7);
    const { session, devices } = statusOf(disk);
    expect(session?.hooks).toEqual(["block"]);
    expect(devices).toMatchObject([
      { device: disk, dirtyBlocks: 7, blockBytes: 4096, blockCount: 16_384 },
    ]);
    expect(track("status").stdout).toMatch(
      new RegExp(`^${disk} +64 MiB +block +7 blocks +\\d+ +none$`, "m"),
    );
  });

  test("stop ends one, or all and leaves nothing pinned", () => {
    const other = machine.loopDisk("other", 32 << 20);
    track("start", disk, other);
    expect(track("stop", other).stdout).toBe(`Stopped tracking ${other}\n`);
    expect(statusOf().devices.map(({ device }) => device)).toEqual([disk]);
    expect(track("stop").stdout).toBe(`Stopped tracking ${disk}\n`);
    expect(existsSync(PINS)).toBe(false);
    expect(track("stop").stdout).toBe("Nothing was tracked\n");
    expect(statusOf()).toEqual({ session: null, devices: [] });
  });

  test("start takes up a disk anew when its size has changed", () => {
    track("start", disk);
    run("truncate", "-s", String(128 << 20), machine.path("disk.img"));
    run("losetup", "--set-capacity", disk);
    expect(track("start", disk).stdout).toMatch(/^Tracking .* \(128 MiB/);
    expect(statusOf().devices).toMatchObject([{ blockCount: 32_768 }]);
  });

  test("start refuses other hooks than those that are there", () => {
    track("start", disk);
    const { status, stderr } = track("start", disk, "--hook", "both");
    expect(status).toBe(EXIT_STATUS.TRACKER);
    expect(stderr).toContain(`run \`ibackup track stop ${disk}\` first`);
  });

  test.each([
    ["/dev/nonexistent", /no such file/i],
    ["/dev/null", /it is not a block device/],
    ["/etc/passwd", /it is not a block device/],
  ])("start refuses %s", (path, why) => {
    const { status, stderr } = track("start", path);
    expect(stderr).toMatch(why);
    expect(status).toBe(EXIT_STATUS.DEVICE);
  });

  test("status knows a partition by its name", () => {
    run("sh", "-c", `echo 'start=2048, size=4096' | sfdisk --quiet ${disk}`);
    // Not every kernel reads partition tables by itself.
    run("partx", "--add", disk);
    machine.onClose(() => run("partx", "--delete", disk));
    track("start", `${disk}p1`);
    expect(statusOf().devices).toMatchObject([{ device: `${disk}p1`, startSector: 2048 }]);
    track("stop");
  });
});

describe("track watch", () => {
  function start(...args: string[]): ChildProcess {
    const [program, ...first] = CLI;
    const environment = { PATH: env["PATH"] ?? "", ...settings };
    return spawn(program, [...first, "track", "watch", ...args], { env: environment });
  }

  /** Resolves when the listener is in place. */
  async function listening(child: ChildProcess): Promise<void> {
    for await (const bytes of child.stderr ?? []) if (String(bytes).includes("listening")) return;
    throw new Error("it ended before it listened");
  }

  test("reports every block that turns dirty, and ends in order when interrupted", async () => {
    track("start", disk);
    const child = start("--json");
    const printed = textOf(child);
    await listening(child);
    writeBlocks(disk, 3, 1);
    writeBlocks(disk, 1000, 500);
    child.kill("SIGINT");
    const [status] = await once(child, "close");
    expect(status).toBe(0);
    const { devices, eventsLost } = JSON.parse(await printed) as Watched;
    expect(eventsLost).toBe(0);
    expect(devices).toMatchObject([
      {
        device: disk,
        blocksReported: 501,
        extents: [
          { firstBlock: 3, blockCount: 1 },
          { firstBlock: 1000, blockCount: 500 },
        ],
      },
    ]);
  });

  test("ends when nobody reads it any more", async () => {
    track("start", disk);
    const child = start();
    await listening(child);
    child.stdout?.destroy();
    const ended = once(child, "close");
    for (let block = 0; child.exitCode === null && block < 10_000; block += 2) {
      writeBlocks(disk, block, 1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await ended)[0]).toBe(0);
  });

  test("ends by itself after the time that was asked for", () => {
    track("start", disk);
    const { status, stderr } = track("watch", disk, "--for", "50ms");
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: "listening\n0 blocks reported, 0 events lost\n",
    });
  });

  test("refuses a disk that is not tracked", () => {
    expect(track("watch", disk).status).toBe(EXIT_STATUS.TRACKER);
  });
});

async function textOf(child: ChildProcess): Promise<string> {
  let text = "";
  for await (const bytes of child.stdout ?? []) text += String(bytes);
  return text;
}
