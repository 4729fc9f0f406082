import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { jsonOf, runCli } from "./run_cli.ts";

let repo: string;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-usage-"));
  repo = `file://${folder}/repository`;
  expect(runCli(["init", "--no-encryption", "--repo", repo]).status).toBe(0);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("wrong arguments", () => {
  const cases: [args: string, why: RegExp][] = [
    ["flsh", /unknown command 'flsh'[\s\S]*Did you mean flush\?/],
    ["track stat", /unknown command 'stat'/],
    ["list --jso", /unknown option '--jso'[\s\S]*Did you mean --json\?/],
    ["--repository x list", /unknown option '--repository'/],
    ["list extra", /too many arguments/],
    ["list --repo", /option '--repo <url>' argument missing/],
    ["show", /missing required argument 'backup'/],
    ["compare latest", /missing required argument 'device'/],
    ["restore latest", /required option '--target <path>' not specified/],
    ["flush /dev/null --consistency solid", /Allowed choices are frozen, quiet, fuzzy/],
    ["track start /dev/null --hook none", /Allowed choices are block, buffer, both/],
    ["track watch --for soon", /not a number above 0 with one of the units/],
    ["track watch --buffer-pages 3", /must be a power of two/],
    ["flush", /no DEVICE was named/],
    ["track start", /no DEVICE was named/],
    ["flush /dev/a /dev/b --disk c", /a name in the repository stands for one disk/],
    ["list --vm ../../x", /must be 1 to 128 letters/],
    ["restore latest --at 2026-11-22T17:01:02Z --target x", /both "latest" and --at/],
    ["restore --at yesterday --target x", /not a date and time with a zone/],
    ["restore --target - --json", /--json was given with --target -/],
    ["init", /does not store unencrypted unless told to/],
  ];

  test.each(cases)("`ibackup %s` exits 2 and says why", (args, why) => {
    const words = args.split(" ");
    const given = words.includes("--repo") ? words : [...words, "--repo", repo];
    const { status, stdout, stderr } = runCli(given);
    expect(stderr).toMatch(why);
    expect(stderr).toMatch(/^error: .+\n {2}why: .+\n {2}fix: .+ {2}\(USAGE, exit 2\)\n$/);
    expect(status).toBe(EXIT_STATUS.USAGE);
    if (!args.includes("--json")) expect(stdout).toBe("");
  });

  test("name no repository", () => {
    const { status, stderr } = runCli(["list"]);
    expect(status).toBe(EXIT_STATUS.USAGE);
    expect(stderr).toContain("neither --repo, IBACKUP_REPO, nor `repo` in the config file");
  });
});

describe("--json", () => {
  test("prints an error as the one document, and tells people too", () => {
    const ended = runCli(["list", "--json", "--repo", `file://${folder}/nothing`]);
    expect(jsonOf(ended)).toEqual({
      error: {
        code: "REPOSITORY_MISSING",
        exitStatus: 10,
        what: `Cannot open a repository in file://${folder}/nothing`,
        why: expect.any(String),
        fix: expect.any(String),
      },
    });
    expect(ended.stderr).toMatch(/^error: Cannot open a repository/);
    expect(ended.status).toBe(10);
  });

  test("holds for arguments that cannot be understood, wherever it stands", () => {
    for (const args of [
      ["list", "--jsn", "--json"],
      ["--json", "lst"],
    ]) {
      const ended = runCli(args);
      expect(jsonOf(ended)).toMatchObject({ error: { code: "USAGE", exitStatus: 2 } });
      expect(ended.status).toBe(2);
    }
  });
});

describe("global options", () => {
  test("may stand before and after the command", () => {
    const before = runCli(["--json", "--repo", repo, "list"]);
    const after = runCli(["list", "--repo", repo, "--json"]);
    expect(before).toEqual({
      status: 0,
      stdout: '{\n  "schemaVersion": 1,\n  "backups": []\n}\n',
      stderr: "",
    });
    expect(after).toEqual(before);
  });

  test("take the repository from the environment, which arguments override", () => {
    expect(runCli(["list"], { IBACKUP_REPO: repo }).status).toBe(0);
    const other = `file://${folder}/nothing`;
    expect(runCli(["list", "--repo", other], { IBACKUP_REPO: repo }).status).toBe(10);
  });
});

describe("init", () => {
  test("refuses a place that has a repository", () => {
    const ended = runCli(["init", "--no-encryption", "--repo", repo]);
    expect(ended.status).toBe(EXIT_STATUS.REPOSITORY_EXISTS);
  });

  test("refuses URLs that it does not know, and does not repeat what may hold a secret", () => {
    const ended = runCli(["init", "--no-encryption", "--repo", "https://user:hunter2@host/x"]);
    expect(ended.status).toBe(EXIT_STATUS.USAGE);
    expect(ended.stdout + ended.stderr).not.toContain("hunter2");
  });

  test("says what it made", () => {
    const url = `file://${folder}/second`;
    const made = jsonOf(runCli(["init", "--no-encryption", "--json", "--repo", url]));
    expect(made).toEqual({
      repositoryId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      url,
      encryption: "none",
      recipient: null,
    });
  });
});
