/** How a failure is told. */
import { arch, platform, versions } from "node:process";
import { EXIT_STATUS, IbackupError, messageOf } from "../errors.ts";

/**
 * Three parts for a failure of the world; for anything else, which is a bug, what its finder needs.
 * @returns Whole lines.
 */
export function renderError(error: unknown, version: string): string {
  if (!(error instanceof IbackupError)) return renderBug(error, version);
  const status = `(${error.code}, exit ${EXIT_STATUS[error.code]})`;
  return `error: ${error.message}\n  why: ${error.why}\n  fix: ${error.fix}  ${status}\n`;
}

/** The document that `--json` prints instead of a result. */
export function errorDocument(error: unknown): object {
  const known =
    error instanceof IbackupError
      ? { code: error.code, what: error.message, why: error.why, fix: error.fix }
      : {
          code: "INTERNAL" as const,
          what: "ibackup met a bug",
          why: messageOf(error),
          fix: REPORT,
        };
  const { code, ...parts } = known;
  return { error: { code, exitStatus: EXIT_STATUS[code], ...parts } };
}

const REPORT = "report these lines to those who gave you ibackup; README.md says where";

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
