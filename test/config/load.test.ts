import { chmodSync, chownSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getuid } from "node:process";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { loadConfig } from "../../src/config/load.ts";
import { resolveSettings } from "../../src/config/settings.ts";
import { IbackupError } from "../../src/errors.ts";

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-config-"));
  file = join(folder, "config.toml");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function write(text: string, mode = 0o600): string {
  writeFileSync(file, text);
  chmodSync(file, mode);
  return file;
}

function failure(run: () => unknown): IbackupError {
  try {
    run();
  } catch (error) {
    if (error instanceof IbackupError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("loadConfig()", () => {
  test("reads when a backup is due", () => {
    write(
      `[trigger]\nany = [{ blocks = 5 }, { all = [{ bytes = "1GiB" }, { every = "1h" }] }, { cron = "0 3 * * *" }]
min-gap = "10m"\njitter = "5m"\nquiet = ["mon-fri 08:00-18:00"]\nzone = "Europe/Berlin"`,
    );
    expect(resolveSettings({ config: file }, {}).trigger).toEqual({
      any: [
        { blocks: 5 },
        { all: [{ bytes: 2 ** 30 }, { every: 3_600_000 }] },
        { cron: "0 3 * * *" },
      ],
      "min-gap": 600_000,
      jitter: 300_000,
      quiet: [{ text: "mon-fri 08:00-18:00", days: [1, 2, 3, 4, 5], from: 480, to: 1080 }],
      zone: "Europe/Berlin",
    });
  });

  test.each([
    ["", /trigger: must have exactly one of blocks, bytes/],
    ['every = "1h"\nblocks = 3', /trigger: must have exactly one of/],
    ["any = [{ blocks = 0 }]", /trigger\.any\[0\]\.blocks: /],
    ["all = []", /trigger\.all: must have a condition/],
    ["any = [{ all = [{ often = 1 }] }]", /trigger\.any\[0\]\.all\[0\]\.often: is not a setting/],
    ['cron = "0 3 * *"', /trigger\.cron: must be a cron expression of five fields/],
    ['cron = "0 3 30 2 *"', /trigger\.cron: never comes/],
    ['every = "1h"\nquiet = ["8-18"]', /trigger\.quiet\[0\]: must be hours such as/],
    ['every = "1h"\nquiet = ["00:00-24:00"]', /trigger\.quiet: leaves no time/],
    ['every = "1h"\nzone = "Mars/Base"', /trigger\.zone: must be a time zone/],
  ])("refuses [trigger] %s, and says where and why", (text, why) => {
    write(`[trigger]\n${text}`);
    expect(failure(() => loadConfig(file)).why).toMatch(why);
  });

  test("reads every setting", () => {
    write('repo = "file:///srv/backup"\nvm = "web-1"\ndisks = ["/dev/vda", "/dev/vdb"]\n');
    expect(loadConfig(file)).toEqual({
      repo: "file:///srv/backup",
      vm: "web-1",
      disks: ["/dev/vda", "/dev/vdb"],
    });
  });

  test("reads how to freeze, and the hooks", () => {
    write(
      '[freeze]\nlimit = "0"\nbudget = "50ms"\npasses = 3\n[hooks]\npre-freeze = "true"\ntime-limit = "2m"',
    );
    expect(loadConfig(file)).toEqual({
      freeze: { limit: 0, budget: 50, passes: 3 },
      hooks: { "pre-freeze": "true", "time-limit": 120_000 },
    });
    expect(resolveSettings({ config: file }, {})).toMatchObject({
      freeze: { limitMs: 0, budgetMs: 50, passesMax: 3 },
      hooks: { commands: { "pre-freeze": "true" }, timeLimitMs: 120_000 },
    });
  });

  test("reads what is asked of the store; the command line goes before it", () => {
    write(
      `[store]\nstorage-class = "STANDARD_IA"\nlock-mode = "governance"\nretain = "30d"\nsse = "aws:kms"
sse-key = "k"\nupload-limit = "10MiB/s"\nparallel-uploads = 8\n[store.tags]\nteam = "ops"`,
    );
    const store = {
      storageClass: "STANDARD_IA",
      lock: { mode: "governance", retainMs: 30 * 86_400_000 },
      encryption: { kind: "aws:kms", keyId: "k" },
      tags: { team: "ops" },
      uploadBytesPerSecond: 10 * 2 ** 20,
      parallelUploads: 8,
    };
    expect(resolveSettings({ config: file }, {}).store).toEqual(store);
    const limited = resolveSettings({ config: file, uploadLimit: "1MB/s" }, {}).store;
    expect(limited).toEqual({ ...store, uploadBytesPerSecond: 1_000_000 });
    write('[store]\nupload-limit = "10MiB/s"\n[copy]\nstorage-class = "GLACIER_IR"');
    const { copyStore } = resolveSettings({ config: file, uploadLimit: "1MB/s" }, {});
    expect(copyStore).toEqual({ storageClass: "GLACIER_IR", uploadBytesPerSecond: 1_000_000 });
  });

  test.each([
    ['retain = "30d"', /lock-mode and retain go together/],
    ['lock-mode = "none"', /store.lock-mode/],
    ['sse-key = "k"', /sse-key goes with/],
    ['upload-limit = "fast"', /store.upload-limit: must be a rate/],
    ["parallel-uploads = 0", /store.parallel-uploads/],
    ['storage-class = "a b"', /store.storage-class/],
    ["endpoint = 1", /store.endpoint: is not a setting/],
  ])("refuses [store] with %s", (line, why) => {
    write(`[store]\n${line}\n`);
    const error = failure(() => loadConfig(file));
    expect(error).toMatchObject({ code: "CONFIG", why: expect.stringMatching(why) });
  });

  test("gives nothing where there is no file, and no settings for an empty one", () => {
    expect(loadConfig(file)).toBeUndefined();
    expect(loadConfig(write(""))).toEqual({});
  });

  test("names all that is wrong at once, by path, with the value", () => {
    write('vm = "no spaces"\ndisks = ["/dev/vda", "vdb"]\nrepos = "x"\nrepo = 7\n');
    const { code, why } = failure(() => loadConfig(file));
    expect(code).toBe("CONFIG");
    expect(why.split("; ").sort()).toEqual([
      'disks[1]: must be an absolute path such as /dev/vda (got "vdb")',
      "repo: Invalid input: expected string, received number (got 7)",
      "repos: is not a setting",
      'vm: must be 1 to 128 letters, digits, dots, underscores and hyphens, the first a letter or digit (got "no spaces")',
    ]);
  });

  test.each([
    ['disks = ["/dev/vda", "/dev/vda"]', /disks: must not name a disk twice/],
    ["disks = []", /disks: must name a disk/],
    ['disks = "/dev/vda"', /disks: .*expected array.*\(got "\/dev\/vda"\)/],
    ["[vm]\nname = 1", /vm: /],
    [
      '[freeze]\nlimit = "11m"',
      /freeze\.limit: must be a duration .* at most 10 min.* \(got "11m"\)/,
    ],
    ['[freeze]\nbudget = "0"', /freeze\.budget: must be a duration/],
    ["[freeze]\npasses = 0", /freeze\.passes: /],
    ['[hooks]\nfrozen = ""', /hooks\.frozen: must not be empty/],
    ["vm = ", /line 1, column \d+: /],
    ['vm = "a"\nvm = "b"', /line 2, column \d+: /],
  ])("refuses %j", (text, why) => {
    const error = failure(() => loadConfig(write(text)));
    expect(error.code).toBe("CONFIG");
    expect(error.why).toMatch(why);
  });

  test.each([0o622, 0o606, 0o660, 0o666])("refuses a file of mode %o", (mode) => {
    const error = failure(() => loadConfig(write("", mode)));
    expect(error.why).toContain("other users may write it");
  });

  test.runIf(getuid?.() === 0)("refuses a file that belongs to another user", () => {
    chownSync(write(""), 65534, 65534);
    expect(failure(() => loadConfig(file)).why).toBe("it belongs to user 65534");
  });

  test("refuses what is no file, and what is too large", () => {
    expect(failure(() => loadConfig(folder)).why).toBe("it is not a regular file");
    write("#".repeat((1 << 20) + 1));
    expect(failure(() => loadConfig(file)).why).toMatch(/larger than/);
  });

  test("follows a link to a file that is fine", () => {
    write('vm = "a"');
    const link = join(folder, "link.toml");
    symlinkSync(file, link);
    expect(loadConfig(link)).toEqual({ vm: "a" });
  });
});

describe("what the daemon does", () => {
  test("is said by [prune], [verify] and [notify]", () => {
    write(`
      [prune]
      schedule = "30 3 * * *"
      keep-daily = 7
      keep-within = "2d"
      keep-tags = ["release"]
      [verify]
      schedule = "0 4 * * sun"
      data = "5%"
      [notify]
      webhook = "https://example.org/hook"
      mail = "root"
      time-limit = "3s"
    `);
    expect(resolveSettings({ config: file }, {})).toMatchObject({
      prune: {
        schedule: "30 3 * * *",
        policy: { daily: 7, withinMs: 2 * 86_400_000, tags: ["release"] },
        gc: true,
      },
      verify: { schedule: "0 4 * * sun", data: 0.05 },
      notify: { webhook: "https://example.org/hook", mail: "root", timeLimitMs: 3000 },
    });
  });

  test.each([
    ['[prune]\nschedule = "0 3 * * *"', "prune: must say what to keep"],
    ["[prune]\nkeep-daily = 7", "prune.schedule: "],
    ['[prune]\nschedule = "soon"\nkeep-daily = 7', "prune.schedule: must be a cron expression"],
    ['[verify]\nschedule = "0 3 * * *"\ndata = "5"', "verify.data: must be a share"],
    ['[notify]\nwebhook = "ftp://example.org"', "notify.webhook: must be an address"],
    ['[notify]\nmail = "-oQ/tmp"', "notify.mail: must be one address"],
    ['[notify]\nmail = "a@b\\nBcc: c@d"', "notify.mail: must be one address"],
  ])("%j is refused", (text, reason) => {
    write(text);
    expect(() => loadConfig(file)).toThrow(
      expect.objectContaining({ why: expect.stringContaining(reason) }),
    );
  });
});

describe("resolveSettings()", () => {
  test("puts arguments before the environment, and the environment before the file", () => {
    write('repo = "file:///file"\nvm = "file"\ndisks = ["/dev/vda"]');
    const environment = { IBACKUP_REPO: "file:///environment" };
    const given = { config: file, repo: "file:///argument", vm: "argument" };
    expect(resolveSettings(given, environment)).toEqual({
      repo: "file:///argument",
      vmGiven: "argument",
      vmId: "argument",
      disks: ["/dev/vda"],
      freeze: {},
      hooks: { commands: {}, timeLimitMs: 60_000 },
      secrets: { identityFile: undefined, passphraseFile: undefined },
      passphraseFileGiven: undefined,
      configFile: file,
      pinnedRecipient: undefined,
      store: {},
      copyStore: {},
      hasUploadLimitArgument: false,
      notify: { timeLimitMs: 10_000 },
      json: false,
    });
    expect(resolveSettings({ config: file }, environment)).toMatchObject({
      repo: "file:///environment",
      vmGiven: undefined,
      vmId: "file",
    });
    expect(resolveSettings({ config: file }, { IBACKUP_REPO: "" }).repo).toBe("file:///file");
  });

  test("takes secrets from files: of the command line, or else of the environment", () => {
    write('[encryption]\nrecipient = "age1example"');
    const environment = { IBACKUP_IDENTITY_FILE: "/i", IBACKUP_PASSPHRASE_FILE: "/p" };
    expect(resolveSettings({ config: file }, environment)).toMatchObject({
      secrets: { identityFile: "/i", passphraseFile: "/p" },
      pinnedRecipient: "age1example",
    });
    const given = { config: file, passphraseFile: "/given" };
    expect(resolveSettings(given, environment)).toMatchObject({
      secrets: { identityFile: undefined, passphraseFile: "/given" },
      passphraseFileGiven: "/given",
    });
  });

  test("has a name for the machine where nobody gave one", () => {
    expect(resolveSettings({ config: write("") }, {}).vmId).toMatch(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);
  });

  test("refuses a config file that is named and not there", () => {
    const error = failure(() => resolveSettings({ config: file }, {}));
    expect(error.code).toBe("CONFIG");
    expect(error.why).toBe("there is no such file");
  });

  test("refuses ids that could be something else in a listing or a path", () => {
    for (const vm of ["", "a b", "../x", "-v", "a\n", "a".repeat(129)]) {
      expect(failure(() => resolveSettings({ config: write(""), vm }, {})).code).toBe("USAGE");
    }
  });
});
