/** How a failure is told. */
import { arch, platform, versions } from "node:process";
import { EXIT_STATUS, IbackupError, messageOf, REPORT } from "../errors.ts";

/**
 * Three parts for a failure of the world; for anything else, which is a bug, what its finder needs.
 * @returns Whole lines.
 */
export function renderError(error: unknown, version: string): string {
  if (!(error instanceof IbackupError)) return renderBug(error, version);
  const status = `(${error.code}, exit ${EXIT_STATUS[error.code]})`;
  return `error: ${error.message}\n  why: ${error.why}\n  fix: ${error.fix}  ${status}\n`;
}

function renderBug(error: unknown, version: string): string {
  const runtime = versions["bun"] ? `Bun ${versions["bun"]}` : `Node ${versions.node}`;
  const stack = error instanceof Error ? (error.stack ?? String(error)) : messageOf(error);
  const lines = stack.split("\n").map((line) => `    ${line.trim()}`);
  return [
    "error: ibackup met a bug",
    `  why: ${messageOf(error)}`,
    ...lines,
    `    ibackup ${version}, ${platform} ${arch}, ${runtime}`,
    `  fix: ${REPORT}  (INTERNAL, exit ${EXIT_STATUS.INTERNAL})`,
    "",
  ].join("\n");
}
