/** Reads a config file: the one place where its text becomes a typed value. */
import { closeSync, fstatSync, openSync, readFileSync, type Stats } from "node:fs";
import { getuid } from "node:process";
import { parse, TomlError } from "smol-toml";
import type { z } from "zod";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import { type Config, configSchema } from "./schema.ts";

const FILE_BYTES_MAX = 1 << 20;

/**
 * @param path Of a TOML file.
 * @returns Undefined when there is no such file.
 * @throws IbackupError CONFIG: unreadable, changeable by other users, or with settings that make
 *   no sense. All of those are named at once.
 */
export function loadConfig(path: string): Config | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  const result = configSchema.safeParse(parseToml(path, text), { reportInput: true });
  if (result.success) return result.data;
  throw invalid(path, result.error.issues.map(explainIssue).join("; "));
}

/** The settings of a config file as they are written there; none when there is no such file. */
export function readConfigText(path: string): Record<string, unknown> {
  const text = readText(path);
  return text === undefined ? {} : (parseToml(path, text) as Record<string, unknown>);
}

function readText(path: string): string | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw unreadable(path, messageOf(error), "check its path and its rights");
  }
  try {
    const fault = faultOf(fstatSync(descriptor));
    if (fault !== undefined) {
      throw unreadable(path, fault, `\`chown root: ${path} && chmod go-w ${path}\``);
    }
    return readFileSync(descriptor, "utf8");
  } finally {
    closeSync(descriptor);
  }
}

/** ibackup runs as root and does what the file says: only root, or who runs it, may write it. */
function faultOf(stats: Stats): string | undefined {
  if (!stats.isFile()) return "it is not a regular file";
  if (stats.size > FILE_BYTES_MAX) return `it is larger than ${FILE_BYTES_MAX} bytes`;
  if (stats.uid !== 0 && stats.uid !== getuid?.()) return `it belongs to user ${stats.uid}`;
  if ((stats.mode & 0o022) !== 0) {
    return `other users may write it: its mode is ${(stats.mode & 0o777).toString(8)}`;
  }
  return undefined;
}

function parseToml(path: string, text: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [reason = ""] = error.message.replace("Invalid TOML document: ", "").split("\n");
    throw invalid(path, `line ${error.line}, column ${error.column}: ${reason}`);
  }
}

/** `disks[1]: must be an absolute path such as /dev/vda (got "vdb")`. */
function explainIssue(issue: z.core.$ZodIssue): string {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => `${pathOf([...issue.path, key])}: is not a setting`).join("; ");
  }
  const got = ["string", "number", "boolean"].includes(typeof issue.input)
    ? ` (got ${JSON.stringify(issue.input)})`
    : "";
  return `${pathOf(issue.path)}: ${issue.message}${got}`;
}

function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === "number") return `${text}[${key}]`;
    return text === "" ? String(key) : `${text}.${String(key)}`;
  }, "");
}

function unreadable(path: string, why: string, fix: string): IbackupError {
  return new IbackupError("CONFIG", `Cannot read the config file "${path}"`, { why, fix });
}

function invalid(path: string, why: string): IbackupError {
  return new IbackupError("CONFIG", `Cannot use the config file "${path}"`, {
    why,
    fix: "correct it; its settings are repo, vm, disks, [freeze], [hooks], [encryption], [store], [copy], [trigger], [prune], [verify] and [notify]",
  });
}
