import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env, pid } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import { CLI, type Ended, jsonOf, runCli } from "./run_cli.ts";

interface Listed {
  backupId: string;
  blocksLost: number;
}

const BACKUP_ID = /^\d{8}T\d{6}Z-[0-9a-f]{8}$/;

let machine: Machine;
let disk: string;
let settings: Record<string, string>;

// Nothing here is tracked: what tracking adds is tested where the kernel is.
beforeAll(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 32 << 20);
  writeRandom(disk, 0, 1000);
  settings = {
    ...machine.environment,
    IBACKUP_PIN_DIR: `/sys/fs/bpf/ibackup-test-cli-backup-${pid}`,
    IBACKUP_REPO: `file://${machine.path("repository")}`,
  };
  expect(cli("init", "--no-encryption").status).toBe(0);
});
afterAll(() => machine.close());

function cli(...args: string[]): Ended {
  return runCli(args, settings);
}

function writeRandom(path: string, firstBlock: number, blockCount: number): void {
  const where = [`of=${path}`, `seek=${firstBlock}`, `count=${blockCount}`, "conv=notrunc"];
  run("dd", "if=/dev/urandom", "bs=4096", "oflag=direct", "status=none", ...where);
}

function start(...args: string[]): ChildProcessWithoutNullStreams {
  const [program, ...first] = CLI;
  return spawn(program, [...first, ...args], { env: { PATH: env["PATH"] ?? "", ...settings } });
}

async function textOf(stream: AsyncIterable<unknown>): Promise<string> {
  let text = "";
  for await (const bytes of stream) text += String(bytes);
  return text;
}

function bash(script: string): Ended {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script, "bash", ...CLI], {
    encoding: "utf8",
    env: { PATH: env["PATH"] ?? "", ...settings },
  });
  return { status, stdout, stderr };
}

describe("flush", () => {
  test("prints the backup id on standard output, and all else on standard error", () => {
    const { status, stdout, stderr } = cli("flush", disk, "--disk", "disk");
    expect(status).toBe(0);
    expect(stdout.trim()).toMatch(BACKUP_ID);
    expect(stderr).toMatch(new RegExp(`^${disk}: base, fuzzy, .* in .*ms \\(base: .*\\)\n$`));
  });

  test("prints one object with the fields that scripts rely on", () => {
    writeRandom(disk, 7, 3);
    const flushed = jsonOf(cli("flush", disk, "--disk", "disk", "--json", "--vm", machineId()));
    expect(flushed).toEqual({
      backupId: expect.stringMatching(BACKUP_ID),
      vmId: machineId(),
      disk: "disk",
      type: "incremental",
      parentId: expect.stringMatching(BACKUP_ID),
      gapCheck: { verdict: "compared", reason: expect.any(String) },
      consistency: "fuzzy",
      capturedAt: expect.stringMatching(/^2\d{3}-.*Z$/),
      blocksChanged: 3,
      bytesRead: expect.any(Number),
      bytesStored: expect.any(Number),
      passes: 1,
      freezeMs: null,
      fileSystems: [],
      durationMs: expect.any(Number),
      taints: [],
    });
  });

  test("of several devices goes on after a failure, and ends with its status", () => {
    const config = machine.path("config.toml");
    writeFileSync(config, `disks = ["/dev/null", "${disk}"]\nvm = "other"\n`, { mode: 0o600 });
    const ended = cli("flush", "--json", "--config", config);
    expect(jsonOf(ended)).toMatchObject({
      flushes: [
        { device: "/dev/null", error: { code: "DEVICE", exitStatus: 6 } },
        { device: disk, vmId: "other", type: "base" },
      ],
    });
    expect(ended.stderr).toContain('error: Cannot use "/dev/null"');
    expect(ended.status).toBe(EXIT_STATUS.DEVICE);
  });

  test("commits nothing when the consistency is less than asked for", () => {
    const before = cli("list").stdout;
    for (const consistency of ["frozen", "quiet"]) {
      const ended = cli("flush", disk, "--disk", "disk", "--consistency", consistency);
      expect(ended.status).toBe(EXIT_STATUS.CONSISTENCY);
    }
    expect(cli("list").stdout).toBe(before);
  });

  test("ends when it is interrupted, and commits nothing", async () => {
    // Holes are read fast, but not so fast that it ends before it hears of the signal.
    const large = machine.loopDisk("large", 4 * 2 ** 30);
    expect(cli("flush", large).status).toBe(0);
    const before = cli("list").stdout;
    const child = start("flush", large, "--scan", "--json");
    const printed = textOf(child.stdout);
    await once(child.stderr, "data");
    child.kill("SIGINT");
    const [status] = await once(child, "close");
    expect(JSON.parse(await printed)).toMatchObject({
      error: { code: "INTERRUPTED", exitStatus: 130, why: "ibackup was sent SIGINT" },
    });
    expect(status).toBe(EXIT_STATUS.INTERRUPTED);
    expect(cli("list").stdout).toBe(before);
  });

  test("draws a bar on a terminal, and clears it away", () => {
    const { stdout } = bash(
      `script --quiet --return --command "$* flush ${disk} --vm bar" /dev/null`,
    );
    expect(stdout).toContain(`reading ${disk} [`);
    expect(stdout).toContain(" of 32 MiB");
    const lastLines = stdout.slice(stdout.lastIndexOf("\u001b[2K"));
    expect(lastLines.slice("\u001b[2K".length)).toMatch(/^\d{8}T\d{6}Z-[0-9a-f]{8}\r\n\/dev/);
  });
});

describe("restore", () => {
  test("writes an image that `compare` calls identical, and then different", () => {
    const image = machine.path("image");
    const restored = cli(
      "restore",
      "latest",
      "--disk",
      "disk",
      "--vm",
      machineId(),
      "--target",
      image,
      "--json",
    );
    expect(jsonOf(restored)).toMatchObject({
      target: image,
      dryRun: false,
      sizeBytes: 32 << 20,
      damaged: [],
    });
    expect(digestOf(image)).toBe(digestOf(disk));

    const which = ["latest", image, "--disk", "disk", "--vm", machineId()];
    expect(cli("compare", ...which).stdout).toMatch(/ is identical to .*: 8,192 blocks compared/);
    writeRandom(image, 40, 2);
    const compared = cli("compare", ...which, "--json");
    expect(jsonOf(compared)).toMatchObject({
      differentBlocks: 2,
      extents: [{ firstBlock: 40, blockCount: 2 }],
    });
    expect(compared.status).toBe(EXIT_STATUS.DIFFERENT);
    expect(cli("compare", ...which).stdout).toContain("2 blocks from block 40, byte 163840");
  });

  test("writes the disk to standard output, and nothing else there", () => {
    const choice = `restore --disk disk --vm ${machineId()} --target -`;
    const { stdout, stderr } = bash(`"$@" ${choice} | sha256sum`);
    expect(stdout.slice(0, 64)).toBe(digestOf(disk));
    expect(stderr).toMatch(/^Restored .* to -: 32 MiB/);
  });

  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("ends by %s", async (signal) => {
    const child = start("restore", "--disk", "disk", "--vm", machineId(), "--target", "-");
    const closed = once(child, "close");
    // Nobody reads on, so it waits in the middle of the disk.
    child.stdout.once("readable", () => child.kill(signal));
    const told = await textOf(child.stderr);
    child.stdout.resume();
    const [status] = await closed;
    expect(told).toContain(`why: ibackup was sent ${signal}`);
    expect(status).toBe(EXIT_STATUS.INTERRUPTED);
  });

  test("fails when whoever reads standard output goes away", () => {
    const choice = `restore --disk disk --vm ${machineId()} --target -`;
    const { stdout } = bash(`"$@" ${choice} | head -c 1 >/dev/null; echo "\${PIPESTATUS[0]}"`);
    expect(stdout).toBe(`${EXIT_STATUS.IO}\n`);
  });

  test("prints its plan and writes nothing with --dry-run", () => {
    const target = machine.path("planned");
    const { stdout, status } = cli(
      "restore",
      "--disk",
      "disk",
      "--vm",
      machineId(),
      "--target",
      target,
      "--dry-run",
    );
    expect(stdout).toMatch(
      /^Would restore .* to .*: 32 MiB from 2 backups, fetching .* in \d+ requests?\n$/,
    );
    expect({ status, files: readdirSync(machine.folder).includes("planned") }).toEqual({
      status: 0,
      files: false,
    });
  });

  test("chooses by time, and knows when there is nothing so old", () => {
    const which = [
      "--disk",
      "disk",
      "--vm",
      machineId(),
      "--target",
      machine.path("old"),
      "--dry-run",
    ];
    expect(cli("restore", "--at", "2999-01-01T00:00:00Z", ...which).status).toBe(0);
    const { status, stderr } = cli("restore", "--at", "1999-01-01T00:00:00Z", ...which);
    expect(stderr).toContain("every backup is of a later time");
    expect(status).toBe(EXIT_STATUS.BACKUP_UNKNOWN);
  });
});

describe("a list that nobody reads to its end", () => {
  test("is no failure", () => {
    const ended = bash('set -o pipefail; "$@" list | head -c 1 >/dev/null');
    expect(ended).toEqual({ status: 0, stdout: "", stderr: "" });
  });
});

// Last, for it damages the repository.
describe("verify", () => {
  test("finds nothing wrong, then names what is damaged and whose it is", () => {
    expect(cli("verify").stdout).toMatch(/^No problem found: \d+ backups, \d+ packs\n$/);
    const sound = cli(
      "verify",
      "latest",
      "--disk",
      "disk",
      "--vm",
      machineId(),
      "--data",
      "--json",
    );
    expect(jsonOf(sound)).toMatchObject({ healthy: true, backups: 2, problems: [] });

    const packs = join(machine.path("repository"), "packs");
    const [pack = ""] = readdirSync(packs, { recursive: true, encoding: "utf8" })
      .filter((name) => name.includes("/"))
      .map((name) => join(packs, name));
    const bytes = readFileSync(pack);
    bytes[60] = (bytes[60] ?? 0) ^ 1;
    writeFileSync(pack, bytes);

    const ended = cli("verify", "--data", "--json");
    const { healthy, problems } = jsonOf(ended) as { healthy: boolean; problems: object[] };
    expect(healthy).toBe(false);
    expect(problems).toEqual([
      {
        object: expect.stringMatching(/^packs\/[0-9a-f]{2}\/[0-9a-f]{64}$/),
        reason: expect.any(String),
        backups: expect.arrayContaining([expect.stringMatching(BACKUP_ID)]),
        extents: expect.arrayContaining([
          { firstBlock: expect.any(Number), blockCount: expect.any(Number) },
        ]),
      },
    ]);
    expect(ended.status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(cli("verify", "--data").stdout).toMatch(/\n {2}blocks: [\d, to]+\n {2}backups: /);

    expect(cli("verify", "--data", "--repair").status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(cli("list").stdout).toMatch(/\([\d,]+ blocks? lost\)/);
    expect(cli("verify").stdout).toMatch(/blocks were lost when `verify --repair` looked last\n/);
    const { backups } = jsonOf(cli("list", "--json")) as { backups: Listed[] };
    const { backupId = "" } = backups.find(({ blocksLost }) => blocksLost > 0) ?? {};
    const restore = ["restore", backupId, "--target", machine.path("lost.img")];
    expect(cli(...restore).stderr).toMatch(/restore --partial/);
    expect(cli(...restore, "--partial").status).toBe(EXIT_STATUS.CORRUPT_DATA);
    expect(statSync(machine.path("lost.img")).size).toBeGreaterThan(0);

    bytes[60] = (bytes[60] ?? 0) ^ 1;
    writeFileSync(pack, bytes);
    expect(cli("verify", "--data", "--repair").status).toBe(0);
    expect(cli("list").stdout).not.toMatch(/lost/);
  });
});

function machineId(): string {
  return readFileSync("/etc/machine-id", "utf8").trim();
}
