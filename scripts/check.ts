/**
 * Every check but the tests, one line each: the same locally and in CI.
 *
 *   npm run check              all of them
 *   npm run check types c      only those whose name holds one of the words
 */

import { spawnSync } from "node:child_process";
import { globSync } from "node:fs";
import { arch, argv, exit } from "node:process";

interface Check {
  name: string;
  command: string[];
}

/** Where Debian keeps the headers of one architecture. */
const MULTIARCH: Record<string, string> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

const testFiles = globSync("test/support/*.c").sort();
const cFiles = [...globSync("{bpf,helper}/*.{c,h}").sort(), ...testFiles];
const helperFiles = globSync("helper/*.c").sort();
const bpfFiles = globSync("bpf/*.bpf.c").sort();
/** The page runs in browsers. */
const denoSources = globSync("src/*", { exclude: ["src/page"] }).sort();
const shellScripts = [
  "ceph",
  "guest",
  "guest_debian",
  "guest_kernel",
  "hook_coverage/in_guest",
  "quickstart",
  "setup",
  "test",
].map((it) => `scripts/${it}`);

/** clang-tidy is told what the build says; its rules stand in .clang-tidy. */
const HELPER_FLAGS = ["-std=c11", "-D_GNU_SOURCE", "-Ihelper", "-isystem", "helper/.output"].concat(
  "-Ibpf",
  `-DIBACKUP_VERSION="check"`,
);
const BPF_FLAGS = ["-target", "bpf", "-Ibpf", "-Ihelper/.output", "-idirafter"].concat(
  `/usr/include/${MULTIARCH[arch] ?? arch}`,
  `-D__TARGET_ARCH_${arch === "x64" ? "x86" : arch}`,
);

const CHECKS: Check[] = [
  { name: "types", command: ["tsc", "-p", "."] },
  { name: "types of the page", command: ["tsc", "-p", "src/page"] },
  { name: "deno", command: ["deno", "check", "--quiet", ...denoSources] },
  { name: "format and lint", command: ["biome", "ci", "--colors=off", "--error-on-warnings"] },
  { name: "arrows", command: ["depcruise", "--config", ".dependency-cruiser.cjs", "src"] },
  { name: "dead code", command: ["knip", "--no-progress"] },
  { name: "generated header", command: ["bun", "scripts/gen_frame_h.ts", "--check"] },
  { name: "c format", command: ["clang-format-14", "--dry-run", "--Werror", ...cFiles] },
  {
    name: "c cppcheck",
    command: ["cppcheck", "--quiet", "--inline-suppr", "--error-exitcode=1", "--std=c11"].concat(
      "--enable=warning,style,performance,portability",
      "--suppress=missingIncludeSystem",
      // Kernel style declares first; and cppcheck takes an output parameter for an input.
      "--suppress=variableScope",
      "--suppress=ctuuninitvar",
      `-DIBACKUP_VERSION="check"`,
      "-DLIBBPF_OPTS(TYPE,NAME,...)=struct TYPE NAME={__VA_ARGS__}",
      helperFiles,
    ),
  },
  {
    name: "c clang-tidy helper",
    command: ["clang-tidy-14", "--quiet", ...helperFiles, ...testFiles, "--", ...HELPER_FLAGS],
  },
  {
    name: "c clang-tidy bpf",
    command: ["clang-tidy-14", "--quiet", ...bpfFiles, "--", ...BPF_FLAGS],
  },
  { name: "shell", command: ["shellcheck", "--severity=warning", ...shellScripts, ".ci/run"] },
];

/** Runs one check; prints a line, and its output when it failed. */
function run({ name, command }: Check): boolean {
  const startedAt = performance.now();
  const [program = "", ...args] = command;
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  const passed = status === 0;
  console.log(`${passed ? "ok    " : "FAILED"} ${name.padEnd(20)} ${seconds.padStart(5)} s`);
  if (passed) return true;
  console.log(`$ ${command.join(" ")}\n${stdout ?? ""}${stderr ?? ""}`);
  if (error) console.log(`${error.message}: run ./scripts/setup --test`);
  return false;
}

const words = argv.slice(2);
const chosen = CHECKS.filter(
  ({ name }) => words.length === 0 || words.some((word) => name.includes(word)),
);
const failed = chosen.filter((check) => !run(check));
exit(failed.length === 0 && chosen.length > 0 ? 0 : 1);
