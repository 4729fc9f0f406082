/** Rules of the source that no linter says. Each failure names the place and the remedy. */
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { EXIT_STATUS } from "../src/errors.ts";

const ROOT = join(import.meta.dirname, "..");
const SOURCES = globSync("{src,bpf,helper,scripts}/**", { cwd: ROOT, exclude: ["**/.output"] })
  .filter((path) => /(\.(tsx?|css|c|h)|\/[a-z_]+)$/.test(path) && !path.includes("/.output/"))
  .filter((path) => spawnSync("test", ["-f", join(ROOT, path)]).status === 0)
  .sort();

const LINES_MAX = 300;

/** A word that has another one here, which one, and where it is right after all. */
const BANNED: { word: RegExp; use: string; allowed?: RegExp }[] = [
  { word: /\bchunks?\b/i, use: "block, or piece of a stream" },
  { word: /\bfull[ -]backups?\b/i, use: "base" },
  { word: /snapshot/i, use: "backup", allowed: /^src\/disk\// },
  { word: /\b(blob|vault|generation)s?\b/i, use: "pack, repository, chain" },
  { word: /\b(TODO|FIXME|XXX|HACK)\b/, use: "an issue" },
  { word: /\bvmlinux\.h\b/, use: "the few kernel fields that are read" },
];

function textOf(path: string): string {
  return readFileSync(join(ROOT, path), "utf8");
}

/** `path:line: text` of each line that matches. */
function linesWith(path: string, word: RegExp): string[] {
  return textOf(path)
    .split("\n")
    .flatMap((line, index) => (word.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : []));
}

describe("source files", () => {
  test("are found at all", () => {
    expect(SOURCES).toContain("src/errors.ts");
    expect(SOURCES).toContain("scripts/setup");
    expect(SOURCES.some((path) => path.startsWith("bpf/"))).toBe(true);
  });

  test(`have at most ${LINES_MAX} lines`, () => {
    const long = SOURCES.map((path) => ({
      path,
      lines: textOf(path).trimEnd().split("\n").length,
    }));
    expect(long.filter(({ lines }) => lines > LINES_MAX)).toEqual([]);
  });

  test.for(BANNED)("say $use, not $word", ({ word, allowed }) => {
    const paths = SOURCES.filter((path) => !allowed?.test(path));
    expect(paths.flatMap((path) => linesWith(path, word))).toEqual([]);
  });

  test("are named for what they are about", () => {
    const vague = /(^|\/)(utils?|helpers?|common|misc|types|index)(\.ts|\/)/;
    expect(globSync("src/**/*.{ts,tsx}", { cwd: ROOT }).filter((path) => vague.test(path))).toEqual(
      [],
    );
  });

  test("have their test beside them only in test/", () => {
    expect(globSync("src/**/*.test.{ts,tsx}", { cwd: ROOT })).toEqual([]);
  });
});

describe("exit statuses", () => {
  test("all stand in the README's table, with their numbers, and no others do", () => {
    const rows = textOf("README.md").matchAll(/^\| *(\d+) *\| *`([A-Z_]+)` *\|/gm);
    const documented = Object.fromEntries(
      [...rows].map(([, status, code]) => [code, Number(status)]),
    );
    expect(documented).toEqual(EXIT_STATUS);
  });
});

describe("commands", () => {
  const files = globSync("src/cli/*.ts", { cwd: ROOT }).filter(
    (path) => basename(path) !== "command.ts" && /\bnewCommand\(\{/.test(textOf(path)),
  );

  test("are found at all", () => {
    expect(files.length).toBeGreaterThan(5);
  });

  test.for(files)("%s has an example and says its exit statuses", (path) => {
    const text = textOf(path);
    const commandCount = text.match(/\bnewCommand\(\{/g)?.length ?? 0;
    expect(text.match(/\bexamples: \[\s*["'`]ibackup /g)).toHaveLength(commandCount);
    expect(text.match(/\bstatuses: /g)).toHaveLength(commandCount);
  });
});

describe("the direction of imports", () => {
  const require = createRequire(import.meta.url);
  const config = require(join(ROOT, ".dependency-cruiser.cjs")) as {
    forbidden: { name: string; comment?: string }[];
  };
  /** Folder -> the folders it may import. */
  const arrows = Object.fromEntries(
    config.forbidden
      .filter(({ name }) => name.endsWith("-may-import"))
      .map(({ name, comment = "" }) => [name.replace("-may-import", ""), foldersIn(comment)]),
  );

  function foldersIn(text: string): string[] {
    return (
      text
        .match(/[a-z]+/g)
        ?.filter((word) => word !== "nothing")
        .sort() ?? []
    );
  }

  test("has a rule for every folder of src/", () => {
    const folders = new Set(globSync("src/*/*.ts", { cwd: ROOT }).map((p) => basename(dirname(p))));
    expect(Object.keys(arrows).sort()).toEqual([...folders].sort());
  });

  // The table has rows such as "| repo | a repository in a store | store, core, runtime |".
  test("is drawn in ARCHITECTURE.md as the rules have it", () => {
    const rows = textOf("ARCHITECTURE.md").matchAll(/^\| *`?(?:src\/)?([a-z]+)\/?`? *\|(.*)\|$/gm);
    const drawn = [...rows]
      .filter(([, folder = ""]) => folder in arrows)
      .map(([, folder, cells = ""]) => [folder, foldersIn(cells.split("|").at(-1) ?? "")]);
    expect(Object.fromEntries(drawn)).toEqual(arrows);
  });

  test("is enforced: planted imports are caught", { timeout: 120_000 }, () => {
    const folder = mkdtempSync(join(tmpdir(), "ibackup-arrows-"));
    try {
      for (const name of ["src", "package.json", "tsconfig.json", ".dependency-cruiser.cjs"]) {
        cpSync(join(ROOT, name), join(folder, name), { recursive: true });
      }
      symlinkSync(join(ROOT, "node_modules"), join(folder, "node_modules"));
      const planted: Record<string, [text: string, rule: string]> = {
        "core/a.ts": [`import { readFileSync } from "node:fs";`, "core-is-pure"],
        "core/b.ts": [`import type { Store } from "../store/store.ts";`, "core-may-import"],
        "cli/c.ts": [`import type { Store } from "../store/store.ts";`, "cli-may-import"],
        "repo/d.ts": [`import { S3Client } from "@aws-sdk/client-s3";`, "only-s3-knows-aws"],
        "disk/e.ts": [`import { Tracker } from "../tracker/tracker.ts";`, "disk-may-import"],
        "job/f.ts": [`import "./g.ts";`, "no-cycles"],
        "job/h.ts": ["export const alone = 1;", "no-orphans"],
        "store/i.ts": [`import fc from "fast-check";`, "no-development-packages-in-the-product"],
      };
      writeFileSync(join(folder, "src/job/g.ts"), `import "./f.ts";\n`);
      for (const [path, [text]] of Object.entries(planted)) {
        mkdirSync(join(folder, "src", dirname(path)), { recursive: true });
        writeFileSync(join(folder, "src", path), `${text}\n`);
      }
      const { stdout } = spawnSync(
        join(ROOT, "node_modules/.bin/depcruise"),
        ["--config", ".dependency-cruiser.cjs", "--output-type", "json", "src"],
        { cwd: folder, encoding: "utf8", maxBuffer: 2 ** 26 },
      );
      const { summary } = JSON.parse(stdout) as {
        summary: { violations: { from: string; rule: { name: string } }[] };
      };
      const caught = new Set(summary.violations.map(({ from, rule }) => `${from} ${rule.name}`));
      for (const [path, [, rule]] of Object.entries(planted)) {
        expect(caught).toContain(`src/${path} ${rule}`);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe("documents", () => {
  const NAMES = ["README", "ARCHITECTURE", "FORMAT", "CHANGELOG", "CONTRIBUTING", "SECURITY"];

  test.for(NAMES)("%s.md is there, and its links lead somewhere", (name) => {
    const text = textOf(`${name}.md`);
    const links = [...text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map(([, target = ""]) => target);
    expect(links.filter((target) => !existsSync(join(ROOT, target)))).toEqual([]);
  });

  test("name only package.json scripts that exist", () => {
    const { scripts } = JSON.parse(textOf("package.json")) as { scripts: Record<string, string> };
    const named = NAMES.flatMap((name) => [...textOf(`${name}.md`).matchAll(/npm run ([\w-]+)/g)]);
    expect(named.map(([, script = ""]) => script).filter((script) => !(script in scripts))).toEqual(
      [],
    );
  });
});
