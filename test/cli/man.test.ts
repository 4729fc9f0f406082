/** Manual pages: one for each command, which `man` and `mandoc` take without a complaint. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { COMMANDS, runHere } from "./command_tree.ts";

let folder: string;
const PAGES = COMMANDS.map(
  ([name]) => `${["ibackup", ...name.split(" ").filter(Boolean)].join("-")}.8`,
);

beforeAll(async () => {
  folder = join(mkdtempSync(join(tmpdir(), "ibackup-man-")), "man8");
  const { status, stdout } = await runHere(["man", "--out", folder], "1.2.3");
  expect(status).toBe(0);
  expect(stdout).toBe(PAGES.map((page) => `${join(folder, page)}\n`).join(""));
});
afterAll(() => rmSync(join(folder, ".."), { recursive: true, force: true }));

function output(program: string, args: string[]): string {
  const { stdout, stderr, error } = spawnSync(program, args, {
    encoding: "utf8",
    env: { PATH: env["PATH"], LC_ALL: "C.UTF-8", MANWIDTH: "100", MANROFFOPT: "" },
  });
  if (error) throw error;
  return `${stdout}${stderr}`;
}

describe("manual pages", () => {
  test("are there for every command", () => {
    expect(readdirSync(folder).sort()).toEqual(PAGES.toSorted());
  });

  test("are right: mandoc finds fault only with the date that they leave out", () => {
    const found = output("mandoc", ["-Tlint", "-Wwarning", ...PAGES.map((it) => join(folder, it))]);
    expect(found.split("\n").filter((line) => line !== "" && !/missing date/.test(line))).toEqual(
      [],
    );
  });

  test("say what --help says", () => {
    const text = output("mandoc", [
      "-Tutf8",
      "-Owidth=100",
      join(folder, "ibackup-flush.8"),
    ]).replaceAll(/.[\b]/g, "");
    expect(text).toContain("ibackup-flush - back up what has changed since the last backup");
    expect(text).toMatch(
      /--freeze-limit <duration>\n +no freeze is longer; 0: never freeze \(default: 10s\)/,
    );
    expect(text).toContain("--pre-freeze 'psql -c CHECKPOINT'");
    expect(text).toMatch(/19 +the consistency asked for was not reached; nothing was committed/);
    expect(text).toContain("ibackup 1.2.3");
  });

  test("are printed one by one", async () => {
    const page = await runHere(["man", "track", "start"], "1.2.3");
    expect(page.stdout).toBe(readFileSync(join(folder, "ibackup-track-start.8"), "utf8"));
    const { status, stderr } = await runHere(["man", "nonsense"]);
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: expect.stringContaining("there is no such command"),
    });
  });

  test("cannot be written where nothing can be", async () => {
    expect((await runHere(["man", "--out", "/dev/null/man"])).status).toBe(21);
  });
});
