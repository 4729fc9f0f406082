/** `ibackup install` and `uninstall`, in a folder instead of a system. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { deviceUnitOf, planUnits } from "../../src/job/systemd_units.ts";
import { type Ended, runCli } from "./run_cli.ts";

/** Something that can be executed: what units start has to be there. */
const PROGRAM = "/bin/true";
const UNITS = "etc/systemd/system";

let folder: string;
let root: string;
let config: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-install-"));
  root = join(folder, "root");
  mkdirSync(join(root, "etc"), { recursive: true });
  config = join(folder, "config.toml");
  configure('disks = ["/dev/vda", "/dev/disk/by-id/virtio-data disk"]\n[trigger]\nevery = "1h"\n');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function configure(text: string): void {
  writeFileSync(config, text, { mode: 0o600 });
}

function install(...args: string[]): Ended {
  const given = ["--root", root, "--config", config, "--program", PROGRAM, "--timer"];
  return runCli(["install", ...given, ...args]);
}

function uninstall(): Ended {
  return runCli(["uninstall", "--root", root]);
}

/** Files and links below the root. */
function filesThere(): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((it) => !it.isDirectory())
    .map((it) => join(it.parentPath, it.name).slice(root.length + 1))
    .sort();
}

const TIMER_UNITS = [
  `${UNITS}/ibackup-flush.service`,
  `${UNITS}/ibackup-flush.timer`,
  `${UNITS}/ibackup-track.service`,
  `${UNITS}/sysinit.target.wants/ibackup-track.service`,
  `${UNITS}/timers.target.wants/ibackup-flush.timer`,
];

function textOf(name: string): string {
  return readFileSync(join(root, UNITS, name), "utf8");
}

describe("install", () => {
  test("writes units that systemd finds no fault with, and uninstall leaves nothing", () => {
    expect(install()).toMatchObject({ status: 0, stderr: "" });
    expect(filesThere()).toEqual(TIMER_UNITS);
    const units = TIMER_UNITS.slice(0, 3).map((path) => join(root, path));
    // Where systemd is not there, its tool is not there either.
    const { stdout, stderr, error } = spawnSync(
      "systemd-analyze",
      ["verify", "--man=no", ...units],
      { encoding: "utf8" },
    );
    if (error === undefined) expect(`${stdout}${stderr}`).toBe("");
    expect(uninstall().stdout.split("\n").filter(Boolean)).toHaveLength(TIMER_UNITS.length);
    expect(filesThere()).toEqual([]);
    expect(readdirSync(join(root, UNITS))).toEqual([]);
    expect(uninstall().stdout).toBe("Nothing was installed\n");
  });

  test("changes nothing when it is run again", () => {
    install();
    const before = TIMER_UNITS.map((path) => lstatSync(join(root, path)).mtimeMs);
    const { stdout } = install();
    expect(stdout.match(/^unchanged: /gm)).toHaveLength(TIMER_UNITS.length);
    expect(TIMER_UNITS.map((path) => lstatSync(join(root, path)).mtimeMs)).toEqual(before);
  });

  test("goes with the config file: what is no longer right is written anew", () => {
    install();
    configure('disks = ["/dev/vdb"]\n');
    expect(install().stdout).toMatch(/^written: .*ibackup-track.service$/m);
    expect(textOf("ibackup-track.service")).toContain(
      "After=systemd-remount-fs.service dev-vdb.device\n",
    );
    expect(textOf("ibackup-flush.service")).toContain(
      `ExecStart=${PROGRAM} flush --config ${config}\n`,
    );
    expect(textOf("ibackup-flush.timer")).toContain("OnCalendar=*:17:00\n");
  });

  test("--print shows everything, a crontab too, and writes nothing", () => {
    const { status, stdout } = install("--print");
    expect(status).toBe(0);
    expect(filesThere()).toEqual([]);
    install();
    for (const name of ["ibackup-track.service", "ibackup-flush.service", "ibackup-flush.timer"]) {
      expect(stdout).toContain(`# /etc/systemd/system/${name}\n${textOf(name)}`);
    }
    expect(stdout).toContain(`@reboot root ${PROGRAM} track start --config ${config}\n`);
    expect(stdout).toContain(`* * * * * root ${PROGRAM} flush --if-due --config ${config}\n`);
  });

  test("touches no unit that it did not write", () => {
    const own = join(root, UNITS, "ibackup-flush.timer");
    mkdirSync(join(root, UNITS), { recursive: true });
    writeFileSync(own, "[Timer]\n");
    const { status, stderr } = install();
    expect({ status, stderr }).toEqual({
      status: EXIT_STATUS.IO,
      stderr: expect.stringContaining("not of `ibackup install`"),
    });
    uninstall();
    expect(filesThere()).toEqual([`${UNITS}/ibackup-flush.timer`]);
  });

  test("goes on where it was broken off", () => {
    install();
    rmSync(join(root, UNITS, "sysinit.target.wants"), { recursive: true });
    writeFileSync(join(root, UNITS, "ibackup-flush.timer.new"), "half");
    install();
    expect(filesThere()).toEqual(TIMER_UNITS);
  });

  test("says what it lacks", () => {
    configure("");
    expect(install().stderr).toContain("the config file has no `disks`");
    configure('disks = ["/dev/vda"]\n');
    expect(install("--program", "bin/ibackup").status).toBe(EXIT_STATUS.USAGE);
    expect(install("--program", "/opt/100% new/ibackup").status).toBe(EXIT_STATUS.USAGE);
    expect(
      runCli([
        "install",
        "--config",
        config,
        "--root",
        join(folder, "nothing"),
        "--program",
        PROGRAM,
      ]),
    ).toMatchObject({
      status: EXIT_STATUS.UNSUPPORTED,
      stderr: expect.stringContaining(`@reboot root ${PROGRAM} track start`),
    });
    expect(existsSync(join(folder, "nothing"))).toBe(false);
  });
});

describe("planUnits()", () => {
  const options = {
    program: "/usr/local/bin/ibackup",
    disks: ["/dev/vda"],
    configFile: undefined,
    hasTrigger: true,
  };

  test("has the daemon in the timer's place where there is one", () => {
    const units = planUnits({ ...options, hasDaemon: true });
    expect(units.map(({ name }) => name)).toEqual(["ibackup-track.service", "ibackup.service"]);
    expect(units[1]?.text).toMatch(/Type=notify\nExecStart=\/usr\/local\/bin\/ibackup daemon\n/);
  });
});

describe("deviceUnitOf()", () => {
  test.each([
    ["/dev/vda", "dev-vda.device"],
    ["/dev//vda/", "dev-vda.device"],
    ["/dev/mapper/vg-data", "dev-mapper-vg\\x2ddata.device"],
    ["/dev/disk/by-id/a b", "dev-disk-by\\x2did-a\\x20b.device"],
    ["/dev/disk/by-label/Ä", "dev-disk-by\\x2dlabel-\\xc3\\x84.device"],
    ["/.hidden", "\\x2ehidden.device"],
  ])("of %s is what systemd-escape says", (path, unit) => {
    expect(deviceUnitOf(path)).toBe(unit);
    const { stdout, error } = spawnSync("systemd-escape", ["--path", "--suffix=device", path], {
      encoding: "utf8",
    });
    if (error === undefined) expect(stdout.trim()).toBe(unit);
  });
});
