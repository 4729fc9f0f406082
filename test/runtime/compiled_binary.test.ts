import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const IBACKUP = join(ROOT, "dist/ibackup");
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
  version: string;
};

describe("dist/ibackup", () => {
  let hostile: string;
  let empty: string;
  let evidence: string;

  beforeAll(() => {
    expect(existsSync(IBACKUP), "npm run build comes first").toBe(true);
    hostile = mkdtempSync(join(tmpdir(), "ibackup-hostile-"));
    empty = join(hostile, "empty");
    evidence = join(hostile, "evil-ran");
    mkdirSync(empty);
    const evil = `require("node:fs").writeFileSync(${JSON.stringify(evidence)}, "");`;
    for (const name of [".env", ".env.local", ".env.production", ".env.development"]) {
      writeFileSync(
        join(hostile, name),
        "IBACKUP_REPO=file:///evil\nBUN_OPTIONS=--preload=./evil.cjs\n",
      );
    }
    for (const name of ["bunfig.toml", ".bunfig.toml"]) {
      writeFileSync(join(hostile, name), 'preload = ["./evil.cjs"]\n');
    }
    const paths = { "*": ["./evil.cjs"] };
    writeFileSync(join(hostile, "tsconfig.json"), JSON.stringify({ compilerOptions: { paths } }));
    const imports = { "#*": "./evil.cjs", "node:fs": "./evil.cjs" };
    writeFileSync(join(hostile, "package.json"), JSON.stringify({ main: "evil.cjs", imports }));
    writeFileSync(join(hostile, "evil.cjs"), evil);
    for (const name of ["commander", "zod", "@aws-sdk/client-s3", "smol-toml", "cli-progress"]) {
      mkdirSync(join(hostile, "node_modules", name), { recursive: true });
      writeFileSync(join(hostile, "node_modules", name, "index.js"), evil);
    }
  });
  afterAll(() => rmSync(hostile, { recursive: true }));

  /** What one run says, started in `cwd` with `variables` on top of a clean environment. */
  function run(cwd: string, args: string[], variables: Record<string, string> = {}) {
    const { status, stdout, stderr } = spawnSync(IBACKUP, args, {
      cwd,
      encoding: "utf8",
      timeout: 30_000,
      env: { PATH: env["PATH"] ?? "", HOME: empty, ...variables },
    });
    return { status, stdout, stderr };
  }

  test("says its version", () => {
    expect(run(empty, ["--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  });

  test.for([["--version"], ["--help"], ["list"], ["list", "--repo", "file:///nowhere"]])(
    "reads nothing from the folder it is started in: %s",
    (args) => {
      expect(run(hostile, args)).toEqual(run(empty, args));
      expect(existsSync(evidence)).toBe(false);
    },
  );

  test("reads nothing from there when it loads the S3 client either", () => {
    const variables = { AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "x" };
    const repo = "s3://bucket/prefix?endpoint=http://127.0.0.1:9&region=x&path-style=true";
    expect(run(hostile, ["list", "--repo", repo], variables).status).toBe(14);
    expect(existsSync(evidence)).toBe(false);
  });

  test.for([
    { BUN_BE_BUN: "1" },
    { BUN_OPTIONS: "--preload=./evil.cjs" },
    { BUN_OPTIONS: "--config=./bunfig.toml" },
    { BUN_OPTIONS: "--eval=1" },
    { BUN_OPTIONS: "--cpu-prof" },
    { BUN_INSPECT: "127.0.0.1:0" },
    { BUN_INSPECT: "ws://127.0.0.1:0/x?break=1", BUN_INSPECT_PRELOAD: "./evil.cjs" },
    { BUN_INSPECT_CONNECT_TO: "./socket" },
    { BUN_BYTECODE_ORDER_OUT: "./order" },
    { NODE_OPTIONS: "--require ./evil.cjs" },
    { XDG_CONFIG_HOME: "." },
  ])("is not changed by %o", (variables) => {
    const expected = run(empty, ["list"]);
    expect(run(hostile, ["list"], variables)).toEqual(expected);
    expect(existsSync(evidence)).toBe(false);
    expect(existsSync(join(hostile, "order"))).toBe(false);
    // Where it is Bun itself, `list` is a script that package.json does not have.
    expect(run(hostile, ["run", "evil.cjs"], variables).status).toBe(2);
    expect(existsSync(evidence)).toBe(false);
  });

  test("takes no option of the runtime for its own", () => {
    expect(run(hostile, ["--preload", "./evil.cjs"]).status).toBe(2);
    expect(existsSync(evidence)).toBe(false);
  });
});
