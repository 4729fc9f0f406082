/** Completion: what is offered, and that bash, zsh and fish offer it. */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env } from "node:process";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { completeWords } from "../../src/cli/completion_places.ts";
import { splitUnfinished, splitWords } from "../../src/cli/words.ts";
import { blockDevices } from "../../src/disk/device_name.ts";
import { PROGRAM, runHere } from "./command_tree.ts";
import { makeRepository, type TestRepository } from "./repository.ts";
import { CLI, type Ended, runCli } from "./run_cli.ts";

const IDS = ["20261122T170102Z-6f3a9c1d", "20261123T170102Z-6f3a9c1e"];

let folder: string;
let made: TestRepository;
let settings: Record<string, string>;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "ibackup-completion-"));
  made = await makeRepository();
  const base = await made.add({ backupId: IDS[0] ?? "", diskName: "vda" });
  await made.add({ backupId: IDS[1] ?? "", diskName: "vda" }, base);
  settings = { IBACKUP_REPO: made.url, IBACKUP_CACHE_DIR: join(folder, "cache") };
  // As shells find it: by its name.
  writeFileSync(join(folder, "ibackup"), `#!/bin/sh\nexec ${CLI.join(" ")} "$@"\n`);
  chmodSync(join(folder, "ibackup"), 0o755);
});
afterAll(() => {
  made.remove();
  rmSync(folder, { recursive: true, force: true });
});

/** What `ibackup LINE<Tab>` offers. */
function offered(line: string, more: Record<string, string> = {}): string[] {
  const { stdout, stderr, status } = runCli(["__complete", "--", `ibackup ${line}`], {
    ...settings,
    ...more,
  });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return valuesOf(stdout);
}

function valuesOf(text: string): string[] {
  return text
    .split("\n")
    .filter(Boolean)
    .map((it) => it.split("\t")[0] ?? "");
}

describe("splitWords()", () => {
  test.each([
    ["", []],
    ["  list  --vm x ", ["list", "--vm", "x"]],
    [`restore "a b" 'c "d"' e\\ f g"h"i`, ["restore", "a b", `c "d"`, "e f", "ghi"]],
    [`say "" ''`, ["say", "", ""]],
    [`say "a\\"b" 'a\\b' "open`, ["say", `a"b`, "a\\b", "open"]],
    ["end\\", ["end"]],
  ])("of %j", (line, words) => {
    expect(splitWords(line)).toEqual(words);
  });

  test("tells a finished word from one that can go on", () => {
    expect(splitUnfinished("list")).toEqual(["list"]);
    expect(splitUnfinished("list ")).toEqual(["list", ""]);
    expect(splitUnfinished("")).toEqual([""]);
    expect(splitUnfinished(`say "a `)).toEqual(["say", "a "]);
  });
});

describe("what is offered", () => {
  const cases: [line: string, values: string[]][] = [
    ["fl", ["flush"]],
    ["track st", ["start", "stop", "status"]],
    ["help tr", ["track"]],
    ["man tr", ["track"]],
    ["flush --sc", ["--scan"]],
    ["flush --upload", ["--upload-limit"]],
    ["track --js", ["--json"]],
    ["flush --consistency ", ["frozen", "quiet", "fuzzy"]],
    ["flush --consistency=fr", ["--consistency=frozen"]],
    ["--repo x --json completion b", ["bash"]],
    ["flush --repo ", []],
    ["flush --nonsense=", []],
    ["restore --disk vda --target ", []],
    ["nonsense ", []],
  ];
  test.each(cases)("after `ibackup %s`", async (line, values) => {
    const { stdout } = await runHere(["__complete", "--", `ibackup ${line}`]);
    expect(valuesOf(stdout)).toEqual(values);
  });

  test("devices, also where they follow other words", () => {
    const devices = (): string[] => blockDevices().map(({ path }) => path);
    const lines = [
      ...["flush ", "flush --wait ", "flush --base -- /dev/one /dev/", "compare latest /dev/"],
      "verify latest --repair /dev/one ",
    ];
    for (const line of lines) {
      // Disks of other tests come and go.
      const [before, found, after] = [devices(), offered(line), devices()];
      expect(found).toEqual(expect.arrayContaining(before.filter((path) => after.includes(path))));
      expect([...before, ...after]).toEqual(expect.arrayContaining(found));
      expect(found.length).toBeGreaterThan(0);
    }
  });

  test("backups, the newest first", () => {
    const newest = IDS.toReversed();
    expect(offered("show ")).toEqual(["latest", ...newest]);
    expect(offered("show 2026112")).toEqual(newest);
    expect(offered("tag add ")).toEqual(["latest", ...newest]);
    expect(offered("restore --disk vda 20261123")).toEqual([IDS[1]]);
    expect(offered(`compare ${IDS[0]} /nowhere`)).toEqual([]);
  });

  test("those of the repository that the line names", () => {
    const other = { IBACKUP_REPO: "file:///nonexistent" };
    expect(offered(`show --repo ${made.url} 20261123`, other)).toEqual([IDS[1]]);
    expect(offered("show ", other)).toEqual(["latest"]);
    expect(offered("show --config /nonexistent l")).toEqual(["latest"]);
  });

  test("the whole tree, without an error anywhere", () => {
    for (const name of PROGRAM.commands.map((it) => it.name())) {
      expect(completeWords(PROGRAM, [name, "--"]).candidates.length).toBeGreaterThan(0);
    }
  });

  test("what the last `list` showed, within seconds, where the store hangs", async () => {
    const server = createServer(() => undefined).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const { port } = server.address() as AddressInfo;
      const url = `s3://bucket/x?endpoint=http://127.0.0.1:${port}&region=r`;
      const keys = { AWS_ACCESS_KEY_ID: "a", AWS_SECRET_ACCESS_KEY: "b", IBACKUP_REPO: url };
      const startedAt = performance.now();
      expect(offered("show ", keys)).toEqual(["latest"]);
      expect(performance.now() - startedAt).toBeLessThan(10_000);
    } finally {
      server.close();
    }
    expect(runCli(["list"], settings).status).toBe(0);
    rmSync(join(made.folder, "repository"));
    expect(offered("show 20261123")).toEqual([IDS[1]]);
  });
});

describe("`ibackup completion`", () => {
  test("refuses other shells", () => {
    expect(runCli(["completion", "csh"]).stderr).toContain("Allowed choices are bash, zsh, fish");
  });

  function shell(program: string, args: string[]): Ended {
    const path = `${folder}:${env["PATH"]}`;
    const { status, stdout, stderr, error } = spawnSync(program, args, {
      encoding: "utf8",
      cwd: folder,
      env: { ...settings, PATH: path, HOME: folder, TERM: "dumb" },
    });
    if (error) throw error;
    return { status, stdout, stderr };
  }

  /** Bash calls the function that the script registered, with what it says of the line. */
  function inBash(line: string): string[] {
    const text = [
      "source <(ibackup completion bash)",
      `COMP_LINE=$1 COMP_POINT=\${#1}`,
      // As readline cuts words: at blanks, "=" and ":".
      `mapfile -t COMP_WORDS < <(grep -oE '[=:]+|[^ =:]+' <<<"$1")`,
      `[[ $1 == *" " ]] && COMP_WORDS+=("")`,
      `COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))`,
      "complete -p ibackup >&2",
      `_ibackup ibackup && printf '%s\\n' "\${COMPREPLY[@]}"`,
    ].join("\n");
    const { stdout, stderr } = shell("bash", ["--norc", "-c", text, "bash", line]);
    expect(stderr).toBe("complete -o bashdefault -o default -F _ibackup ibackup\n");
    return valuesOf(stdout);
  }

  test("works in bash", () => {
    expect(inBash("ibackup fl")).toEqual(["flush"]);
    expect(inBash("ibackup flush --consistency ")).toEqual(["frozen", "quiet", "fuzzy"]);
    // What stands before the "=" is on the line already.
    expect(inBash("ibackup flush --consistency=")).toEqual(["frozen", "quiet", "fuzzy"]);
    expect(inBash("ibackup flush --consistency=q")).toEqual(["quiet"]);
    expect(inBash("ibackup flush --pre-freeze 'psql -c CHECKPOINT' --fro")).toEqual(["--frozen"]);
    expect(inBash("sudo ibackup nonsense ")).toEqual([]);
  });

  test("works in fish", () => {
    const { stdout, stderr } = shell("fish", [
      "--no-config",
      "-c",
      "ibackup completion fish | source; complete -C 'ibackup track st'; complete -C 'ibackup flush --consistency=f'; complete -C 'ibackup init --repo ibac'",
    ]);
    expect(stderr).toBe("");
    expect(valuesOf(stdout)).toEqual([
      ...["start", "status", "stop"],
      ...["--consistency=frozen", "--consistency=fuzzy"],
      // Where ibackup knows nothing, files.
      "ibackup",
    ]);
  });

  test("works in zsh", () => {
    // compadd and _files can only be called while a line is edited: they are taken down instead.
    const text = [
      "compdef() { print -r -- compdef $@ }",
      "source <(ibackup completion zsh)",
      "compadd() { print -rl -- $values }; _files() { print files }",
      "words=(ibackup track st) CURRENT=3; _ibackup",
      "words=(ibackup flush --consistency=f) CURRENT=3; _ibackup",
      "words=(ibackup init --repo '') CURRENT=4; _ibackup",
    ].join("\n");
    const { stdout, stderr } = shell("zsh", ["-f", "-c", text]);
    expect(stderr).toBe("");
    expect(stdout.split("\n").filter(Boolean)).toEqual([
      "compdef _ibackup ibackup",
      ...["start", "stop", "status"],
      ...["--consistency=frozen", "--consistency=fuzzy"],
      "files",
    ]);
  });
});
