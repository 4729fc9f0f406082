/** What users get wrong: a clear error, its exit status, and nothing half done left behind. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { firstDifference, run, shell } from "../support/machine.ts";
import type { Outcome } from "../support/program.ts";
import { canTrack, filesBelow, manifestKeyIn, Site } from "../support/site.ts";

const SIZE_BYTES = 32 << 20;
const STATUS = {
  usage: 2,
  config: 3,
  notPermitted: 4,
  unsupported: 5,
  device: 6,
  targetBusy: 7,
  targetTooSmall: 8,
  tracker: 9,
  repositoryMissing: 10,
  repositoryExists: 11,
  repositoryFormat: 12,
  locked: 13,
  storeDenied: 15,
  storeFull: 16,
  backupUnknown: 17,
  corrupt: 18,
  consistency: 19,
  io: 21,
} as const;

describe.runIf(canTrack())("ibackup", () => {
  let site: Site;
  let source: string;
  let target: string;
  let backupId: string;

  beforeAll(() => {
    site = new Site();
    site.init();
    source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 20M /dev/urandom | dd of=${source} bs=1M oflag=direct status=none`);
    site.must("track", "start", source);
    backupId = site.flush(source).backupId;
  });
  afterAll(() => site.close());

  test.each([
    ["no such device", "/dev/no-such-disk"],
    ["a character device", "/dev/null"],
    ["a folder", "/dev"],
    ["a file", "/etc/hostname"],
  ])("tells that %s is no disk", (_, path) => {
    for (const words of [["flush"], ["track", "start"], ["track", "stop"]]) {
      expectFailure(STATUS.device, ...words, path);
    }
    expectFailure(STATUS.device, "track", "status", path);
  });

  test("tells that a loop device without a file has no medium", () => {
    const device = run("losetup", "-f").trim();
    expectFailure(STATUS.device, "flush", device);
  });

  test.each<[string, string, number, string?]>([
    ["an empty folder", "nothing", STATUS.repositoryMissing],
    ["no folder", "missing/deeper", STATUS.repositoryMissing],
    ["a damaged document", "odd", STATUS.corrupt, "what is this"],
    ["a newer format", "newer", STATUS.repositoryFormat, "newer"],
  ])("tells that %s is no repository that it can use", (_, name, status, text) => {
    if (name === "nothing") mkdirSync(site.machine.path(name));
    if (text !== undefined) documentOf(name, text === "newer" ? newerFormat() : text);
    const url = `file://${site.machine.path(name)}`;
    for (const words of [["list"], ["flush", source], ["verify"], ["show", "latest"]]) {
      expectFailure(status, "--repo", url, ...words);
    }
    expectFailure(status, "--repo", url, "restore", "--target", site.machine.path("image"));
  });

  test("tells that a file is no folder of a repository", () => {
    writeFileSync(site.machine.path("plain"), "");
    expectFailure(STATUS.storeDenied, "--repo", `file://${site.machine.path("plain")}`, "list");
  });

  test("does not make a repository where one is, nor silently an unencrypted one", () => {
    expectFailure(STATUS.repositoryExists, "init", "--no-encryption");
    const url = `file://${site.machine.path("unencrypted")}`;
    expectFailure(STATUS.usage, "--repo", url, "init");
  });

  test("refuses backups that it does not know", () => {
    for (const id of ["20200101T000000Z-00000000", "2019", "../../etc/passwd", "manifests", ""]) {
      for (const words of [["show"], ["verify"], ["restore", "--target", "-"]]) {
        const { status } = failing(...words, id);
        expect([STATUS.backupUnknown, STATUS.usage]).toContain(status);
      }
    }
    const image = ["--target", site.machine.path("image")];
    expectFailure(STATUS.backupUnknown, "restore", "--at", "2001-01-01T00:00:00Z", ...image);
    expectFailure(STATUS.backupUnknown, "show", "latest", "--disk", "other");
  });

  test("refuses targets that are too small, mounted, in use, or the source", () => {
    const small = site.machine.loopDisk("small", SIZE_BYTES - 512);
    expectFailure(STATUS.targetTooSmall, "restore", "--target", small);
    expectFailure(STATUS.targetBusy, "restore", "--target", source);

    const mounted = site.machine.loopDisk("mounted", SIZE_BYTES);
    run("mkfs.ext4", "-q", mounted);
    const folder = site.machine.mount(mounted);
    expectFailure(STATUS.targetBusy, "restore", "--target", mounted, "--force");
    site.machine.unmount(folder);

    run("mkswap", mounted);
    run("swapon", mounted);
    expectFailure(STATUS.targetBusy, "restore", "--target", mounted, "--force");
    run("swapoff", mounted);
    site.restore("latest", mounted);
  });

  test("refuses image files that are there, and places where none can be", () => {
    const present = site.machine.path("present");
    writeFileSync(present, "mine");
    expectFailure(STATUS.targetBusy, "restore", "--target", present);
    expect(readFileSync(present, "utf8")).toBe("mine");
    expectFailure(STATUS.targetBusy, "restore", "--target", site.machine.folder);
    expectFailure(STATUS.targetBusy, "restore", "--target", "/dev/null");
    expectFailure(STATUS.io, "restore", "--target", site.machine.path("no/such/folder"));
  });

  test("cannot write to a disk that is read-only", () => {
    const file = site.machine.path("readonly.img");
    shell(`truncate -s ${SIZE_BYTES} '${file}'`);
    const readOnly = site.machine.attach(file, "--read-only");
    const { status } = failing("restore", "--target", readOnly);
    expect(status).toBe(STATUS.targetBusy);
    // It can be backed up, though.
    expect(site.flush(readOnly, "--disk", "read-only")).toMatchObject({ type: "base" });
  });

  test("tells who is not root what is missing", () => {
    shell(`chmod 755 '${site.machine.folder}'`);
    const nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    for (const words of [
      `flush ${source}`,
      `track start ${source}`,
      "track stop",
      "track status",
    ]) {
      expectThreeParts(inShell(`${nobody} ${site.command} ${words}`), STATUS.notPermitted);
    }
    const restore = inShell(`${nobody} ${site.command} restore --target ${target}`);
    expect(restore.status).toBeGreaterThan(1);
  });

  test("without BTF cannot track, and still backs up by comparing", () => {
    const hide = "mount -t tmpfs none /sys/kernel/btf";
    const other = site.machine.loopDisk("without-btf", SIZE_BYTES);
    const pins = `IBACKUP_PIN_DIR=${site.pinFolder}-btf`;
    const ibackup = `env ${pins} ${site.command.replace(/IBACKUP_PIN_DIR='[^']*'/, "")}`;
    expectThreeParts(apart(hide, `${ibackup} track start ${other}`), STATUS.unsupported);
    expectUntrackedBackup(apart(hide, `${ibackup} flush ${other} --disk btf --json`));
    expect(readdirSync("/sys/fs/bpf").filter((name) => name.endsWith("-btf"))).toEqual([]);
  });

  test("without bpffs cannot track, and still backs up by comparing", () => {
    const hide = "umount -l /sys/fs/bpf";
    const other = site.machine.loopDisk("without-bpffs", SIZE_BYTES);
    const { command } = site;
    expectThreeParts(apart(hide, `${command} track start ${other}`), STATUS.unsupported);
    expectUntrackedBackup(apart(hide, `${command} flush ${other} --disk bpffs --json`));
    // A tracked disk whose hooks cannot be seen from here is compared, never trusted.
    const { stdout } = apart(hide, `${command} flush ${source} --json`);
    expect(JSON.parse(stdout)).toMatchObject({ gapCheck: { verdict: "compared" } });
    expect(site.flush(source).taints).toEqual([]);
    site.restore("latest", target, "--disk", diskOf(source));
    expect(firstDifference(source, target)).toBe("");
  });

  test("with a full repository commits nothing, leaves no rubbish, and is whole the next time", () => {
    const folder = site.machine.path("tiny");
    mkdirSync(folder);
    run("mount", "-t", "tmpfs", "-o", "size=4m", "none", folder);
    site.machine.onClose(() => run("umount", folder));
    const url = `file://${folder}/repository`;
    site.must("--repo", url, "init", "--no-encryption");
    const fill = () =>
      shell(`head -c 8M /dev/urandom | dd of=${source} bs=1M oflag=direct status=none`);
    const flush = () => site.json("--repo", url, "flush", source);
    expectThreeParts(site.run("--repo", url, "flush", source), STATUS.storeFull);
    expectNoRubbish(folder);
    run("mount", "-o", "remount,size=40m", folder);
    expect(flush()).toMatchObject({ type: "base" });
    fill();
    run("mount", "-o", "remount,size=26m", folder);
    expectThreeParts(site.run("--repo", url, "flush", source), STATUS.storeFull);
    expectNoRubbish(folder);
    run("mount", "-o", "remount,size=80m", folder);
    expect(flush()).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
    site.must("--repo", url, "restore", "latest", "--target", target, "--force");
    expect(firstDifference(source, target)).toBe("");
  });

  test("takes one backup of a disk at a time", () => {
    const [major, minor] = run("lsblk", "-dno", "MAJ:MIN", source).trim().split(":");
    const lock = `${site.machine.runtimeFolder}/locks/${major}-${minor}`;
    const held = inShell(`flock '${lock}' ${site.command} flush ${source}`);
    expectThreeParts(held, STATUS.locked);
    site.flush(source);
  });

  test.each([
    [["flush", "--no-such-option"]],
    [["no-such-command"]],
    [["flush", "/dev/null", "--consistency", "some"]],
    [["track", "start", "/dev/null", "--hook", "none"]],
    [["restore"]],
    [["restore", "latest", "--at", "2026-01-01T00:00:00Z", "--target", "-"]],
    [["restore", "--at", "yesterday", "--target", "-"]],
    [["list", "--repo", "ftp://host/path"]],
    [["list", "--repo", "/plain/path"]],
    [["track", "watch", "--buffer-pages", "3"]],
  ])("does not understand %j", (words) => {
    expectFailure(STATUS.usage, ...words);
  });

  test("refuses a config file that is not there or makes no sense", () => {
    expectFailure(STATUS.config, "--config", site.machine.path("no-config"), "list");
    writeFileSync(site.machine.path("config.toml"), "repo = [");
    expectFailure(STATUS.config, "--config", site.machine.path("config.toml"), "list");
    writeFileSync(site.machine.path("config.toml"), "repos = 'file:///x'\n");
    expectFailure(STATUS.config, "--config", site.machine.path("config.toml"), "list");
  });

  test("does not take a frozen backup, which it cannot do yet", () => {
    expectFailure(STATUS.consistency, "flush", source, "--consistency", "frozen");
  });

  test("refuses a manifest of a newer format, and says so", () => {
    const folder = site.machine.path("repository");
    const manifest = `${folder}/${manifestKeyIn(folder, backupId)}`;
    const text = readFileSync(manifest, "utf8");
    writeFileSync(manifest, text.replace(/^ibackup-manifest \d+/, "ibackup-manifest 999"));
    expectFailure(STATUS.repositoryFormat, "show", backupId);
    expectFailure(STATUS.repositoryFormat, "flush", source);
    expectFailure(
      STATUS.repositoryFormat,
      "restore",
      backupId,
      "--target",
      site.machine.path("image"),
    );
    expectFailure(STATUS.repositoryFormat, "verify");
    writeFileSync(manifest, text);
    site.must("verify", "--data");
  });

  /** A failing command changes nothing in the repository, nor beside the target. */
  function failing(...words: string[]): Outcome {
    const before = everything();
    const outcome = site.run(...words);
    expect({ words, after: everything() }).toEqual({ words, after: before });
    expect(outcome.stderr).toMatch(/^(?!.*met a bug)/s);
    expectThreeParts(outcome, outcome.status ?? -1);
    return outcome;
  }

  function expectFailure(status: number, ...words: string[]): void {
    const outcome = failing(...words);
    const actual = { words, status: outcome.status, stderr: outcome.stderr };
    expect(actual).toEqual({ words, status, stderr: outcome.stderr });
    const document = JSON.parse(site.run(...words, "--json").stdout);
    expect(document).toMatchObject({ error: { exitStatus: status } });
  }

  function everything(): string[] {
    return filesBelow(site.machine.folder).concat(readdirSync(site.pinFolder));
  }

  function documentOf(name: string, text: string): void {
    mkdirSync(site.machine.path(name));
    writeFileSync(site.machine.path(`${name}/repository`), text);
  }

  function newerFormat(): string {
    const text = readFileSync(site.machine.path("repository/repository"), "utf8");
    return text.replace(/^ibackup-repository \d+/, "ibackup-repository 999");
  }

  function diskOf(device: string): string {
    return device.replace("/dev/", "");
  }
});

function expectThreeParts({ status, stderr }: Outcome, expected: number): void {
  expect({ status, stderr }).toEqual({ status: expected, stderr: expect.any(String) });
  expect(stderr).toMatch(/error: [^a-z].+\n {2}why: .+\n {2}fix: .+\(\w+, exit \d+\)/);
}

function expectUntrackedBackup({ status, stdout, stderr }: Outcome): void {
  expect({ status, stderr }).toEqual({ status: 0, stderr: expect.any(String) });
  expect(JSON.parse(stdout)).toMatchObject({ type: "base", consistency: "fuzzy" });
}

function expectNoRubbish(folder: string): void {
  const files = filesBelow(folder);
  expect(files.filter((name) => name.includes(".tmp-"))).toEqual([]);
}

function inShell(script: string): Outcome {
  const { status, stdout, stderr } = spawnSync("bash", ["-c", script], { encoding: "utf8" });
  return { status, stdout, stderr };
}

/** Runs a command where `prepare` has changed the mounts, for itself alone. */
function apart(prepare: string, command: string): Outcome {
  return inShell(`unshare --mount bash -c ${JSON.stringify(`${prepare} && exec ${command}`)}`);
}
