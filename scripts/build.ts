/**
 * Makes dist/ibackup, and its manual pages in dist/man: one file that runs on any x86-64 (or arm64) Linux and reads nothing from the
 * folder it is started in.
 *
 * The helper is embedded. Bun's own x64 executable is the baseline build (no AVX needed).
 */

import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { endianness } from "node:os";
import { chdir, execPath, exit } from "node:process";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const OUTPUT = "dist/ibackup";
const MAN_FOLDER = "dist/man/man8";
const ENTRY_FOLDER = "dist/entry";
const HELPER = "helper/.output/ibackup-helper";

/**
 * Environment variables by which anybody who can set one would turn the binary into something
 * else: a general JavaScript runtime, one with other flags (`--preload FILE`), or a debugger's
 * open port. Their names are blanked in the runtime, so that it finds none of them.
 */
const BLANKED_VARIABLES = [
  "BUN_BE_BUN",
  "BUN_OPTIONS",
  "BUN_INSPECT",
  "BUN_INSPECT_PRELOAD",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_BYTECODE_ORDER_OUT",
];

/** The page, as it is embedded. */
const PAGE_FOLDER = "dist/page";
const PAGE_FILES = ["index.html", "page.js", "page.css", "icon.svg"];

/** The order matters: main.ts runs as soon as it is imported. */
const ENTRY = {
  "entry.ts": `import "./helper.ts";\nimport "./page.ts";\nimport "../../src/main.ts";\n`,
  "page.ts": [
    ...PAGE_FILES.map(
      (name, i) => `import file${i} from "../../${PAGE_FOLDER}/${name}" with { type: "text" };`,
    ),
    `import { useEmbeddedPage } from "../../src/ui/assets.ts";`,
    `useEmbeddedPage({ ${PAGE_FILES.map((name, i) => `"${name}": file${i}`).join(", ")} });\n`,
  ].join("\n"),
  "helper.ts": [
    `import path from "../../${HELPER}" with { type: "file" };`,
    `import { useEmbeddedHelper } from "../../src/runtime/embedded_helper.ts";`,
    "useEmbeddedHelper(path);\n",
  ].join("\n"),
};

function run(program: string, ...args: string[]): void {
  const { status, error } = spawnSync(program, args, { stdio: "inherit" });
  if (status === 0) return;
  console.error(
    `build: \`${[program, ...args].join(" ")}\` failed${error ? `: ${error.message}` : ""}`,
  );
  exit(1);
}

function compile(outputPath: string): void {
  mkdirSync(ENTRY_FOLDER, { recursive: true });
  for (const [name, text] of Object.entries(ENTRY)) writeFileSync(`${ENTRY_FOLDER}/${name}`, text);
  run(
    execPath,
    "build",
    "--compile",
    // Bytecode: a start takes a third of the time. Names stay, and the source map is embedded, for
    // the stacks of bug reports.
    ...["--bytecode", "--format=esm", "--minify-syntax", "--minify-whitespace"],
    "--sourcemap=inline",
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    "--no-compile-autoload-tsconfig",
    "--no-compile-autoload-package-json",
    `--outfile=${outputPath}`,
    `${ENTRY_FOLDER}/entry.ts`,
  );
}

/** One file of code and one of style, as the page's content security policy wants them. */
function bundlePage(): void {
  rmSync(PAGE_FOLDER, { recursive: true, force: true });
  buildSync({
    entryPoints: ["main.tsx", "page.css"].map((name) => ({ in: `src/page/${name}`, out: "page" })),
    outdir: PAGE_FOLDER,
    ...{ bundle: true, minify: true, format: "esm", target: "es2024", logLevel: "warning" },
    ...{ jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  });
  for (const name of PAGE_FILES.filter((file) => !/\.(js|css)$/.test(file))) {
    cpSync(`src/page/${name}`, `${PAGE_FOLDER}/${name}`);
  }
}

/** @throws When a name is not there exactly once: this is another runtime than the one we know. */
function blankVariables(path: string): void {
  const bytes = readFileSync(path);
  for (const name of BLANKED_VARIABLES) {
    const wanted = `\0${name}\0`;
    const offset = bytes.indexOf(wanted);
    if (offset < 0 || bytes.indexOf(wanted, offset + 1) >= 0) {
      throw new Error(`Cannot blank ${name}: it does not stand exactly once in ${path}`);
    }
    bytes[offset + 1] = 0;
  }
  writeFileSync(path, bytes);
}

chdir(fileURLToPath(new URL("..", import.meta.url)));
if (endianness() !== "LE")
  throw new Error("ibackup's formats are little-endian, and so is its code");

run(execPath, "scripts/gen_frame_h.ts", "--check");
run("make", "--no-print-directory", "-C", "helper");
bundlePage();
rmSync(ENTRY_FOLDER, { recursive: true, force: true });
const draft = `${ENTRY_FOLDER}/ibackup`;
compile(draft);
blankVariables(draft);
renameSync(draft, OUTPUT);
run(OUTPUT, "--version");
rmSync(MAN_FOLDER, { recursive: true, force: true });
execFileSync(OUTPUT, ["man", "--out", MAN_FOLDER]);
console.log(`${OUTPUT}: ${(statSync(OUTPUT).size / 2 ** 20).toFixed(0)} MiB`);
