import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pid } from "node:process";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { digestOf, Machine, run } from "../support/machine.ts";
import { type Ended, jsonOf, runCli } from "./run_cli.ts";

interface Listed {
  slotId: string;
  holder: string;
  label: string;
  opensNewest: boolean;
}

let machine: Machine;
let disk: string;
let settings: Record<string, string>;
let ownFile: string;
let ownRecipient: string;

beforeAll(async () => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 8 << 20);
  settings = {
    ...machine.environment,
    IBACKUP_PIN_DIR: `/sys/fs/bpf/ibackup-test-key-${pid}`,
    IBACKUP_REPO: `file://${machine.path("repository")}`,
  };
  [ownFile, ownRecipient] = await newIdentity("own");
  expect(cli("init", "--recipient", ownRecipient).status).toBe(0);
});
afterAll(() => machine.close());

function cli(...args: string[]): Ended {
  return runCli(args, settings);
}

async function newIdentity(name: string): Promise<[file: string, recipient: string]> {
  const identity = await generateX25519Identity();
  return [secretFile(name, `# ${name}\n${identity}\n`), await identityToRecipient(identity)];
}

function secretFile(name: string, text: string): string {
  const path = machine.path(name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

function flush(): string {
  const { status, stdout, stderr } = cli("flush", disk, "--disk", "disk");
  expect({ status, stderr }).toMatchObject({ status: 0 });
  return stdout.trim();
}

/** @returns The exit status. What was restored is the disk as it is. */
function restore(backup: string, ...secret: string[]): number | null {
  const target = machine.path("restored");
  rmSync(target, { force: true });
  const { status } = cli("restore", backup, "--target", target, ...secret);
  if (status === 0) expect(digestOf(target)).toBe(digestOf(disk));
  return status;
}

function holders(): Listed[] {
  return jsonOf(cli("key", "list", "--json"))["holders"] as Listed[];
}

describe("init", () => {
  const elsewhere = () => ["--repo", `file://${machine.path("elsewhere")}`];

  test.each([
    [[]],
    [["--recipient", "age1wrong"]],
    [["--no-encryption", "--recipient", `age1${"q".repeat(58)}`]],
    [["--passphrase-file", "/nonexistent"]],
  ])("refuses %j", (args) => {
    const { status, stdout } = cli("init", ...elsewhere(), ...args);
    expect({ status, stdout }).toEqual({ status: EXIT_STATUS.USAGE, stdout: "" });
  });
});

describe("secrets", () => {
  test("are refused in files that others can read, and never repeated", () => {
    const backup = flush();
    const loose = secretFile("loose", readFileSync(ownFile, "utf8"));
    run("chmod", "640", loose);
    const ended = cli("restore", backup, "--target", machine.path("x"), "--identity-file", loose);
    expect(ended.status).toBe(EXIT_STATUS.USAGE);
    const garbled = secretFile("garbled", readFileSync(ownFile, "utf8").replace(/.\n$/, "1\n"));
    for (const file of [loose, garbled, disk, "/nonexistent"]) {
      const { stderr, status } = cli("show", backup, "--identity-file", file);
      expect(status).not.toBe(0);
      expect(stderr).not.toContain("AGE-SECRET-KEY-1");
    }
  });

  test("come from files that the environment names", () => {
    const backup = flush();
    settings["IBACKUP_IDENTITY_FILE"] = ownFile;
    expect(restore(backup)).toBe(0);
    delete settings["IBACKUP_IDENTITY_FILE"];
    expect(restore(backup)).toBe(EXIT_STATUS.NO_KEY);
  });
});

describe("key", () => {
  test("add lets a passphrase open what is there and what comes", () => {
    const before = flush();
    const file = secretFile("passphrase", "correct horse battery staple\n");
    const added = cli("key", "add", "--passphrase-file", file, "--identity-file", ownFile);
    expect(added.status).toBe(0);
    expect(restore(before, "--passphrase-file", file)).toBe(0);
    expect(restore(flush(), "--passphrase-file", file)).toBe(0);
    const wrong = secretFile("wrong", "correct horse battery stable\n");
    expect(restore(before, "--passphrase-file", wrong)).toBe(EXIT_STATUS.NO_KEY);
    expect(
      holders()
        .map(({ holder }) => holder)
        .sort(),
    ).toEqual(["passphrase", "x25519"]);
  });

  test("add needs somebody who can open", async () => {
    const [stranger, recipient] = await newIdentity("stranger");
    const ended = cli("key", "add", "--recipient", recipient, "--identity-file", stranger);
    expect(ended.status).toBe(EXIT_STATUS.NO_KEY);
    expect(cli("key", "add", "--recipient", recipient).status).toBe(EXIT_STATUS.NO_KEY);
  });

  test("export makes a sheet that opens everything, for nobody else to read", () => {
    const sheet = join(machine.folder, "sheet");
    const args = ["key", "export", "--identity-file", ownFile];
    expect(cli(...args, "--out", sheet).status).toBe(0);
    expect(statSync(sheet).mode & 0o777).toBe(0o600);
    expect(cli(...args, "--out", sheet).status).toBe(EXIT_STATUS.IO);
    expect(restore(flush(), "--identity-file", sheet)).toBe(0);
    expect(holders().filter(({ label }) => label.startsWith("recovery sheet"))).toHaveLength(1);
  });

  test("remove shuts one out of what comes, and machines refuse the new key until told", () => {
    const before = flush();
    const sheet = machine.path("sheet");
    const { slotId } = holders().find(({ label }) => label !== "") ?? { slotId: "" };
    const other = { ...settings, IBACKUP_STATE_DIR: machine.path("other-state") };
    const flushElsewhere = () => runCli(["flush", disk, "--disk", "disk"], other);
    expect(flushElsewhere().status).toBe(0);
    const removed = cli("key", "remove", slotId, "--identity-file", ownFile, "--json");
    const { recipient } = jsonOf(removed) as { recipient: string };
    const after = flush();
    expect(restore(after, "--identity-file", sheet)).toBe(EXIT_STATUS.NO_KEY);
    expect(restore(after, "--identity-file", ownFile)).toBe(0);
    expect(restore(before, "--identity-file", ownFile)).toBe(0);
    const passphrase = ["--passphrase-file", machine.path("passphrase")];
    expect(restore(after, ...passphrase)).toBe(0);
    expect(flushElsewhere().status).toBe(EXIT_STATUS.KEY_CHANGED);
    const trust = (key: string) => runCli(["key", "trust", key], other).status;
    expect(trust(ownRecipient)).toBe(EXIT_STATUS.USAGE);
    expect(trust(recipient)).toBe(0);
    expect(flushElsewhere().status).toBe(0);
  });

  test("remove keeps the last one", () => {
    for (const { slotId, holder } of holders()) {
      if (holder === "x25519") continue;
      expect(cli("key", "remove", slotId, "--identity-file", ownFile).status).toBe(0);
    }
    const [{ slotId } = { slotId: "" }] = holders();
    const ended = cli("key", "remove", slotId, "--identity-file", ownFile);
    expect(ended.status).toBe(EXIT_STATUS.USAGE);
    expect(ended.stderr).toContain("it is the last one");
  });

  test("a config file pins the key of the repository", () => {
    const { recipient } = jsonOf(cli("key", "list", "--json")) as { recipient: string };
    const config = (key: string) =>
      secretFile("config.toml", `[encryption]\nrecipient = "${key}"\n`);
    const flushWith = (key: string) => cli("flush", disk, "--config", config(key)).status;
    expect(flushWith(ownRecipient)).toBe(EXIT_STATUS.KEY_CHANGED);
    expect(flushWith(recipient)).toBe(0);
  });
});
