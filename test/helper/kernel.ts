import { existsSync } from "node:fs";
import { env, geteuid, stderr } from "node:process";
import { describe } from "vitest";
import { shell } from "../support/machine.ts";

const HELPER = new URL("../../helper/", import.meta.url).pathname;

/** Builds the helper with its sanitizers. Several test files may ask at once. */
export function buildHelper(): void {
  shell(`flock '${HELPER}Makefile' make -s -C '${HELPER}' sanitize`);
}

function whyNot(): string | undefined {
  if (geteuid?.() !== 0) return "not root";
  if (!existsSync("/sys/kernel/btf/vmlinux")) return "the kernel has no BTF";
  if (!existsSync("/sys/fs/bpf")) return "the kernel has no BPF";
  return undefined;
}

/** Like `describe`, for tests that need root and BPF; elsewhere they are skipped, never in CI. */
export function describeWithKernel(name: string, tests: () => void): void {
  const reason = env["CI"] === "true" ? undefined : whyNot();
  if (reason !== undefined) stderr.write(`skipped: ${name}: ${reason}\n`);
  describe.skipIf(reason !== undefined)(name, tests);
}
