/** On a terminal ibackup asks for a passphrase; nothing of it is shown, and a pipe is never asked. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { env, pid } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../../src/errors.ts";
import { digestOf, Machine } from "../support/machine.ts";
import { CLI, runCli } from "./run_cli.ts";

const SECRET = "correct horse battery staple";
const FIRST = "Passphrase that is to open the backups: ";
const AGAIN = "The same once more: ";
const TIME = { timeout: 60_000 };

let machine: Machine;
let disk: string;
let repository: string;
let settings: Record<string, string>;

beforeAll(async () => {
  machine = new Machine();
  disk = machine.loopDisk("disk", 1 << 20);
  repository = `file://${machine.path("repository")}`;
  settings = {
    ...machine.environment,
    IBACKUP_PIN_DIR: `/sys/fs/bpf/ibackup-test-prompt-${pid}`,
    IBACKUP_REPO: repository,
  };
  const made = await onTerminal(
    ["init"],
    [
      [FIRST, SECRET],
      [AGAIN, SECRET],
    ],
  );
  expect(made).toMatchObject({ status: 0, asked: 2 });
  expect(made.shown).toContain("sealed to age1");
}, 60_000);
afterAll(() => machine.close());

/**
 * @param answers To each question in its turn, when it is there.
 * @returns All that the terminal shows; nothing of an answer is among it.
 */
async function onTerminal(args: readonly string[], answers: readonly [string, string][]) {
  const command = [...CLI, ...args].map((word) => `'${word}'`).join(" ");
  const child = spawn("script", ["--quiet", "--return", "--command", command, "/dev/null"], {
    cwd: "/",
    env: { PATH: env["PATH"] ?? "", HOME: "/nonexistent", TERM: "xterm", ...settings },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const closed = once(child, "close");
  const left = [...answers];
  let shown = "";
  let from = 0;
  for await (const part of child.stdout) {
    shown += String(part);
    const [question = "", answer = ""] = left[0] ?? [];
    const at = left.length > 0 ? shown.indexOf(question, from) : -1;
    if (at < 0) continue;
    from = at + question.length;
    left.shift();
    child.stdin.write(answer === "\x03" ? answer : `${answer}\r`);
  }
  child.stdin.end();
  const [status] = (await closed) as [number];
  for (const [, answer] of answers) if (answer.length > 2) expect(shown).not.toContain(answer);
  return { status, shown, asked: answers.length - left.length };
}

describe("init without a mode", () => {
  const elsewhere = ["init", "--repo"];

  test("refuses what was not typed alike twice", TIME, async () => {
    const repo = `file://${machine.path("unequal")}`;
    const refused = await onTerminal(
      [...elsewhere, repo],
      [
        [FIRST, SECRET],
        [AGAIN, "another one"],
      ],
    );
    expect(refused).toMatchObject({ status: EXIT_STATUS.USAGE, asked: 2 });
    expect(runCli(["list"], { ...settings, IBACKUP_REPO: repo }).status).not.toBe(0);
  });

  test("says what there is when nothing is typed, and ends at Ctrl-C", TIME, async () => {
    const repo = `file://${machine.path("nothing")}`;
    const nothing = await onTerminal([...elsewhere, repo], [[FIRST, ""]]);
    expect(nothing.status).toBe(EXIT_STATUS.USAGE);
    expect(nothing.shown).toContain("--no-encryption");
    const ended = await onTerminal([...elsewhere, repo], [[FIRST, "\x03"]]);
    expect(ended).toMatchObject({ status: EXIT_STATUS.INTERRUPTED, asked: 1 });
  });

  test("asks nobody in a pipe", () => {
    const { status, stderr } = runCli(
      ["init", "--repo", `file://${machine.path("pipe")}`],
      settings,
    );
    expect(status).toBe(EXIT_STATUS.USAGE);
    expect(stderr).not.toContain("once more");
  });
});

describe("what opens a sealed repository", () => {
  const question = () => `Passphrase of ${repository}: `;

  test("asks for the passphrase, and a flush does not", TIME, async () => {
    expect(await onTerminal(["flush", disk, "--disk", "disk"], [])).toMatchObject({ status: 0 });
    const target = machine.path("restored");
    const args = ["restore", "latest", "--target", target];
    const restored = await onTerminal(args, [[question(), SECRET]]);
    expect(restored, restored.shown).toMatchObject({ status: 0, asked: 1 });
    expect(digestOf(target)).toBe(digestOf(disk));
    rmSync(target);
    const wrong = await onTerminal(args, [[question(), "another one"]]);
    expect(wrong.status).toBe(EXIT_STATUS.NO_KEY);
    expect(wrong.shown).toContain("the secret of no holder");
    const nothing = await onTerminal(["key", "export"], [[question(), ""]]);
    expect(nothing.status).toBe(EXIT_STATUS.NO_KEY);
    expect(nothing.shown).toContain("no identity was given");
  });

  test("asks nobody in a pipe", () => {
    const { status, stderr } = runCli(["key", "export"], settings);
    expect(status).toBe(EXIT_STATUS.NO_KEY);
    expect(stderr).not.toContain("Passphrase of");
  });
});
