/** Every command's JSON document is what its schema, and so docs/JSON.md, says. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { DOCUMENTS, FAILURE_DOCUMENT } from "../../src/cli/json_documents.ts";
import { Machine, run } from "../support/machine.ts";
import { COMMANDS } from "./command_tree.ts";
import { jsonDocumentation } from "./json_outline.ts";
import { CLI, type Ended, jsonOf, runCli } from "./run_cli.ts";

const PINS = `/sys/fs/bpf/ibackup-test-json-${randomBytes(6).toString("hex")}`;

let machine: Machine;
let disk: string;
let settings: Record<string, string>;
const printed = new Set<string>();

beforeAll(() => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 8 << 20);
  machine.onClose(() => cli("track", "stop"));
  writeFileSync(machine.path("config.toml"), '[trigger]\nevery = "1h"\n', { mode: 0o600 });
  writeFileSync(machine.path("pass"), "correct horse\n", { mode: 0o600 });
  settings = {
    ...machine.environment,
    IBACKUP_PIN_DIR: PINS,
    IBACKUP_REPO: `file://${machine.path("repository")}`,
  };
});
afterAll(() => machine.close());

function cli(...args: string[]): Ended {
  return runCli(args, settings);
}

/** Runs a command with --json, and holds what it prints against its schema. */
function check(name: string, ...args: string[]): Record<string, unknown> {
  const ended = cli(...name.split(" "), ...args, "--json");
  expect(ended, ended.stderr).toMatchObject({ status: 0 });
  const document = jsonOf(ended);
  expect(z.safeParse(DOCUMENTS[name] ?? z.never(), document).error?.issues ?? []).toEqual([]);
  printed.add(name);
  return document;
}

/** Runs a program that goes on until it is ended: as soon as it has logged its first line. */
async function stoppedOnceUp(program: string, ...args: string[]): Promise<Omit<Ended, "stderr">> {
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: env["PATH"] ?? "", ...settings },
  });
  const closed = once(child, "close");
  child.stderr.once("data", () => child.kill("SIGTERM"));
  const stdout = await text(child.stdout);
  const [status] = await closed;
  return { status, stdout };
}

describe("docs/JSON.md", () => {
  test("is what the schemas say", async () => {
    const path = join(import.meta.dirname, "../../docs/JSON.md");
    await expect(jsonDocumentation()).toMatchFileSnapshot(path);
  });

  test("knows every command that has something to print", () => {
    const leaves = COMMANDS.filter(
      ([name, { commands }]) => commands.length === 0 && name !== "shell",
    );
    expect(Object.keys(DOCUMENTS).sort()).toEqual(leaves.map(([name]) => name).sort());
  });
});

// In this order: each builds on those before.
describe("what commands print", () => {
  test("to make backups", () => {
    check("init", "--no-encryption");
    check("track start", disk);
    check("flush", disk, "--disk", "vda");
    run("dd", "if=/dev/urandom", `of=${disk}`, "bs=64k", "count=1", "oflag=direct", "status=none");
    check("track status");
    check("track watch", disk, "--for", "10ms");
    check("flush", disk, "--disk", "vda");
    const config = ["--config", machine.path("config.toml")];
    expect(check("flush", disk, "--disk", "vda", "--if-due", ...config)).toMatchObject({
      due: false,
    });
    expect(check("track stop")).toEqual({ stopped: [disk] });
  });

  test("to look at them", () => {
    expect(check("list")["backups"]).toHaveLength(2);
    check("show", "latest");
    check("verify", "--data");
    check("compare", "latest", disk);
    check("restore", "latest", "--target", machine.path("restored"), "--verify");
    expect(check("doctor", disk)["findings"]).not.toEqual([]);
  });

  test("to keep and remove them", () => {
    check("tag add", "latest", "good");
    check("tag remove", "latest", "good");
    check("protect", "latest");
    check("unprotect", "latest");
    check("rebase", "latest");
    check("copy", "--to", `file://${machine.path("copy")}`);
    const dry = check("prune", "--keep-last", "1", "--simulate", "2");
    expect(dry["simulation"]).toHaveLength(1);
    expect(check("prune", "--keep-last", "1")["removed"]).toHaveLength(1);
    expect(check("prune", "--damaged")["damaged"]).toEqual([]);
    check("gc", "--grace", "0s");
    const several = cli("flush", disk, "/dev/null", "--json");
    expect(several.status).toBe(6);
    expect(DOCUMENTS["flush"]?.safeParse(jsonOf(several)).error?.issues ?? []).toEqual([]);
  });

  test("about keys", () => {
    settings["IBACKUP_REPO"] = `file://${machine.path("sealed")}`;
    settings["IBACKUP_PASSPHRASE_FILE"] = machine.path("pass");
    check("init", "--passphrase-file", machine.path("pass"));
    check("key export", "--out", machine.path("sheet"));
    settings["IBACKUP_IDENTITY_FILE"] = machine.path("sheet");
    const { slotId } = check("key export") as { slotId: string };
    const sheet = machine.path("other");
    writeFileSync(sheet, String(check("key export")["sheet"]), { mode: 0o600 });
    const { recipient } = check("key remove", slotId) as { recipient: string };
    check("key trust", recipient);
    check("key list");
    writeFileSync(machine.path("new"), "another\n", { mode: 0o600 });
    check("key add", "--passphrase-file", machine.path("new"), "--label", "new");
  });

  test("of the daemon", async () => {
    writeFileSync(machine.path("empty.toml"), "", { mode: 0o600 });
    check("config check", "--config", machine.path("empty.toml"));
    check("config show");
    const { status, stdout } = await stoppedOnceUp(...CLI, "daemon", "--json");
    expect(status).toBe(0);
    expect(DOCUMENTS["daemon"]?.safeParse(jsonOf({ status, stdout, stderr: "" })).error).toBe(
      undefined,
    );
    printed.add("daemon");
    check("metrics", "--textfile", machine.path("ibackup.prom"));
    cli("track", "start", disk);
    check("status");
    cli("track", "stop");
  });

  test("of the page", async () => {
    const options = { env: { PATH: env["PATH"] ?? "", ...settings } };
    const start = (...args: string[]) => {
      const [program = "", ...words] = CLI;
      return spawn(program, [...words, ...args], options);
    };
    const daemon = start("daemon");
    await once(daemon.stderr, "data");
    const socket = join(machine.runtimeFolder, "daemon.sock");
    await expect.poll(() => existsSync(socket), { timeout: 10_000 }).toBe(true);
    const ui = start("ui", "--json");
    let stdout = "";
    ui.stdout.on("data", (piece) => {
      stdout += String(piece);
    });
    await expect.poll(() => stdout, { timeout: 10_000 }).toContain("}\n");
    ui.kill("SIGTERM");
    expect(await once(ui, "exit")).toEqual([0, null]);
    expect(DOCUMENTS["ui"]?.safeParse(jsonOf({ status: 0, stdout, stderr: "" })).error).toBe(
      undefined,
    );
    daemon.kill("SIGTERM");
    await once(daemon, "exit");
    printed.add("ui");
  });

  test("about themselves", () => {
    check("completion", "zsh");
    check("man", "flush");
    mkdirSync(machine.path("root/etc"), { recursive: true });
    writeFileSync(machine.path("config.toml"), 'disks = ["/dev/vda"]\n', { mode: 0o600 });
    const root = ["--root", machine.path("root")];
    check("install", ...root, "--config", machine.path("config.toml"), "--program", "/bin/true");
    check("uninstall", ...root);
    check("man", "--out", machine.path("man8"));
  });

  test("when they fail", () => {
    for (const args of [
      ["show", "nonsense"],
      ["flush", "/dev/null"],
      ["list", "--nonsense"],
    ]) {
      const ended = cli(...args, "--json");
      const { error } = FAILURE_DOCUMENT.parse(jsonOf(ended));
      expect(ended.status).toBe(error.exitStatus);
    }
  });

  test("is all of it", () => {
    expect([...printed].sort()).toEqual(Object.keys(DOCUMENTS).sort());
  });
});
