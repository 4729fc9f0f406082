import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { jsonOf, runCli } from "./run_cli.ts";

const folder = mkdtempSync(join(tmpdir(), "ibackup-config-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(text: string): string {
  const path = join(folder, `${Math.random()}.toml`);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

describe("config check", () => {
  test("names every mistake, with its path and its reason", () => {
    const file = fileWith(`
      disks = ["vda"]
      repository = "file:///srv"
      [freeze]
      limit = "soon"
      [trigger]
      any = [{ blocks = 0 }, { every = "1h", cron = "* * * * *" }]
    `);
    const { status, stderr } = runCli(["config", "check", "--config", file]);
    expect(status).toBe(EXIT_STATUS.CONFIG);
    for (const mistake of [
      'disks[0]: must be an absolute path such as /dev/vda (got "vda")',
      "repository: is not a setting",
      'freeze.limit: must be a duration such as "10s"',
      "trigger.any[0].blocks: ",
      "trigger.any[1]: must have exactly one of",
    ]) {
      expect(stderr).toContain(mistake);
    }
  });

  test("says where TOML itself is wrong", () => {
    const { stderr } = runCli(["config", "check", "--config", fileWith('repo = "x"\nvm == 1\n')]);
    expect(stderr).toMatch(/line 2, column \d+/);
  });

  test("says of a good file that it is", () => {
    const file = fileWith('repo = "file:///srv/backup"\n');
    const ended = runCli(["config", "check", "--config", file]);
    expect(ended).toEqual({ status: 0, stdout: `${file} is valid\n`, stderr: "" });
    expect(jsonOf(runCli(["config", "check", "--config", file, "--json"]))).toEqual({
      file,
      valid: true,
    });
  });
});

describe("config show", () => {
  const file = fileWith(`
    repo = "s3://bucket/a?endpoint=https://me:secret1@host"
    disks = ["/dev/vda"]
    [hooks]
    pre-freeze = "psql --password=secret2"
    [freeze]
    budget = "150ms"
  `);

  function show(args: string[], environment = {}): Record<string, [string | null, string]> {
    const given = ["config", "show", "--json", "--config", file, "--vm", "web-1", ...args];
    const { settings } = jsonOf(runCli(given, environment)) as {
      settings: { name: string; value: string | null; origin: string }[];
    };
    return Object.fromEntries(settings.map(({ name, value, origin }) => [name, [value, origin]]));
  }

  test("says of each setting where it comes from", () => {
    expect(show([])).toMatchObject({
      vm: ["web-1", "argument"],
      disks: ['["/dev/vda"]', "file"],
      "freeze.budget": ["150ms", "file"],
      "freeze.limit": ["10 s", "default"],
    });
    const environment = { IBACKUP_REPO: "file:///b", IBACKUP_IDENTITY_FILE: "/b" };
    expect(show([], environment)).toMatchObject({
      repo: ["file:///b", "environment"],
      "identity-file": ["/b", "environment"],
    });
    const given = show(["--repo", "file:///c", "--passphrase-file", "/c"], environment);
    expect(given).toMatchObject({
      repo: ["file:///c", "argument"],
      "passphrase-file": ["/c", "argument"],
      // What is given on the command line stands alone.
      "identity-file": [null, "default"],
    });
  });

  test("hides what may be secret", () => {
    const shown = JSON.stringify(show([]));
    expect(shown).not.toMatch(/secret/);
    expect(shown).toContain("https://***@host");
  });
});
