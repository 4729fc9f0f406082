/** `ibackup shell`, at a keyboard and from a pipe. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { env, pid } from "node:process";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { completeLine } from "../../src/cli/shell_commands.ts";
import { Dialogue } from "../support/dialogue.ts";
import { isLong } from "../support/long.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import { CLI, type Ended, runCli } from "./run_cli.ts";

const PASSPHRASE = "correct horse";
const PROMPT = "ibackup> ";

let machine: Machine;
let disk: string;
let url: string;
let settings: Record<string, string>;
let dialogue: Dialogue | undefined;

beforeAll(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 8 << 20);
  run("dd", "if=/dev/urandom", `of=${disk}`, "bs=1M", "count=2", "oflag=direct", "status=none");
  url = `file://${machine.path("repository")}`;
  settings = { ...machine.environment, IBACKUP_PIN_DIR: `/sys/fs/bpf/ibackup-test-shell-${pid}` };
  writeFileSync(machine.path("pass"), `${PASSPHRASE}\n`, { mode: 0o600 });
  expect(cli("init", "--passphrase-file", machine.path("pass")).status).toBe(0);
  expect(cli("flush", disk, "--disk", "vda").status).toBe(0);
});
afterAll(() => machine.close());
afterEach(() => dialogue?.kill());

function cli(...args: string[]): Ended {
  return runCli([...args, "--repo", url], settings);
}

function open(terminal: string, ...args: string[]): Dialogue {
  const more = { PATH: env["PATH"] ?? "", HOME: machine.folder, TERM: terminal };
  dialogue = new Dialogue([...CLI, "shell", ...args], { ...settings, ...more });
  return dialogue;
}

/** As far as the first prompt. */
async function opened(terminal: string): Promise<Dialogue> {
  const shell = open(terminal, "--repo", url);
  await shell.answer("Identity file (empty: none): ", "");
  await shell.answer("empty: none): ", PASSPHRASE);
  await shell.until(PROMPT);
  return shell;
}

describe("`ibackup shell`", () => {
  test.each(isLong ? ["linux", "dumb"] : ["dumb"])(
    "restores on a terminal of the kind %s",
    async (terminal) => {
      const shell = open(terminal);
      await shell.answer("Repository", "file:///nonexistent");
      expect(await shell.answer("Repository", url)).toContain("REPOSITORY_MISSING");
      await shell.answer("Identity file (empty: none): ", "");
      await shell.answer("empty: none): ", "wrong");
      expect(await shell.answer("Identity file (empty: none): ", "")).toContain("NO_KEY");
      await shell.answer("empty: none): ", PASSPHRASE);
      await shell.answer(PROMPT, "list");
      expect(await shell.answer(PROMPT, "show nonsense")).toMatch(/vda +base/);
      expect(await shell.answer(PROMPT, "nonsense")).toContain("BACKUP_UNKNOWN");
      const target = machine.path(`restored ${terminal}`);
      expect(await shell.answer(PROMPT, `plan latest --target "${target}"`)).toContain(
        "Invalid Command",
      );
      expect(await shell.answer(PROMPT, `restore latest "${target}" --verify`)).toContain(
        "Would restore",
      );
      expect(await shell.answer("Type yes to go on: ", "no")).toContain("Would restore");
      expect(
        await shell.answer(PROMPT, `restore latest "${target}" --verify --disk vda`),
      ).toContain("Nothing was written");
      await shell.answer("Type yes to go on: ", "yes");
      expect(await shell.answer(PROMPT, `compare latest ${disk}`)).toContain(", verified, in");
      expect(await shell.answer(PROMPT, "verify @data")).toContain("is identical to");
      expect(await shell.answer(PROMPT, "quit")).toContain("No problem found");
      expect(await shell.end()).toBe(0);
      expect(digestOf(target)).toBe(digestOf(disk));
      expect(shell.text).not.toContain(PASSPHRASE);
      expect(shell.text).not.toContain("wrong");
      if (terminal === "dumb") expect(shell.text).not.toContain("\u001b");
    },
  );

  test("completes, takes lines back, and ends at Ctrl-D", async () => {
    const shell = await opened("linux");
    shell.type("sh");
    await shell.until("sh");
    shell.type("\t");
    await shell.until("ow ");
    shell.type("la");
    await shell.until("la");
    shell.type("\t");
    await shell.until("test ");
    shell.type("\r");
    await shell.until("SHA-256");
    await shell.until(PROMPT);
    shell.type("half a line\u0003");
    await shell.until(PROMPT);
    // The arrow keys have commands, and no secrets.
    shell.type("\u001b[A\u001b[A\u001b[A\u001b[A");
    await shell.until("show latest");
    shell.type("\u0003");
    await shell.until(PROMPT);
    shell.type("\u0004");
    expect(await shell.end()).toBe(0);
    expect(shell.text).not.toContain(PASSPHRASE);
  });

  test("goes on after Ctrl-C, also where a store hangs", async () => {
    const server = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as AddressInfo;
      const shell = open("linux");
      await shell.answer("Repository", `s3://bucket/x?endpoint=http://127.0.0.1:${port}&region=r`);
      await shell.answer("Access key id (empty: as the AWS SDK finds it): ", "AKID");
      const connected = once(server, "connection");
      await shell.answer("Secret access key (not shown): ", "the secret key");
      await connected;
      shell.type("\u0003");
      await shell.until("INTERRUPTED");
      await shell.answer("Repository", url);
      await shell.answer("Identity file (empty: none): ", "");
      await shell.answer("empty: none): ", "");
      await shell.answer(PROMPT, "disks");
      expect(await shell.answer(PROMPT, "exit")).toContain(disk);
      expect(await shell.end()).toBe(0);
      expect(shell.text).not.toContain("the secret key");
    } finally {
      server.close();
    }
  });

  test("takes commands from a pipe, and ends with them", () => {
    const [program, ...first] = CLI;
    const input = "\n\nlist\nshow latest\nhelp\nopen\n";
    const { status, stdout, stderr } = spawnSync(program, [...first, "shell", "--repo", url], {
      encoding: "utf8",
      input,
      env: { ...settings, PATH: env["PATH"] ?? "" },
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toContain("They stay closed");
  });

  test("refuses --json", () => {
    expect(cli("shell", "--json").status).toBe(2);
  });

  test("puts no secret where other processes or later users find it", () => {
    expect(readFileSync(machine.path("pass"), "utf8")).toContain(PASSPHRASE);
    const found = spawnSync("grep", ["-rl", PASSPHRASE, machine.folder, machine.runtimeFolder], {
      encoding: "utf8",
    });
    expect(found.stdout.trim()).toBe(machine.path("pass"));
  });
});

describe("completeLine()", () => {
  const known = {
    backups: () => ["20261122T1", "20261123T1"],
    devices: () => ["/dev/vda", "/dev/vdb"],
  };
  test.each([
    [
      "",
      [
        "list",
        "show",
        "plan",
        "restore",
        "verify",
        "compare",
        "disks",
        "open",
        "help",
        "exit",
        "quit",
      ],
    ],
    ["re", ["restore"]],
    ["help p", ["plan"]],
    ["show 20261123", ["20261123T1"]],
    ["restore latest /dev/", ["/dev/vda", "/dev/vdb"]],
    ["restore --verify latest ", ["/dev/vda", "/dev/vdb"]],
    ["restore latest /dev/vdb --v", ["--verify", "--vm"]],
    ["verify ", ["latest", "20261122T1", "20261123T1"]],
    ["list ", []],
    ["nonsense ", []],
    [`show "half a `, []],
  ])("of %j", (line, words) => {
    expect(completeLine(line, known)[0]).toEqual(words.map((word) => `${word} `));
  });
});
