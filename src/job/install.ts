/** Puts ibackup into the machine's start: unit files, and the links that enable them. */
import { spawnSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { IbackupError, messageOf, systemCodeOf } from "../errors.ts";
import { MARK, planCrontab, planUnits, type Unit, type UnitOptions } from "./systemd_units.ts";

const UNIT_FOLDER = "etc/systemd/system";

export interface InstallOptions extends UnitOptions {
  /** Of the system that is installed into: "/", or where an image is mounted. */
  root: string;
  /** Write nothing. */
  print: boolean;
}

export interface InstalledFile {
  path: string;
  change: "written" | "unchanged" | "removed";
}

export interface Installed {
  root: string;
  files: InstalledFile[];
  units: { name: string; text: string }[];
  crontab: string[];
}

/**
 * Does the same each time: what is there already as it should be is left alone, and what an older
 * version has written and this one does not goes.
 *
 * @throws IbackupError UNSUPPORTED without systemd; IO, NOT_PERMITTED.
 */
export function install(options: InstallOptions): Installed {
  const { root, print } = options;
  const units = planUnits(options);
  const crontab = planCrontab(options);
  const result = { root, units: units.map(({ name, text }) => ({ name, text })), crontab };
  if (print) return { ...result, files: [] };
  if (!hasSystemd(root)) throw noSystemd(root, crontab);
  for (const { name } of units) refuseForeign(join(root, UNIT_FOLDER, name));
  const staying = new Set(units.map(({ name }) => name));
  const going = ourUnits(root).filter((name) => !staying.has(name));
  const isLive = root === "/" && isRunning();
  if (isLive && going.length > 0) systemctl("stop", ...going);
  const files = writing(root, () => [
    ...units.flatMap((unit) => writeUnit(root, unit)),
    ...removeUnits(root, staying),
  ]);
  if (isLive) startUnits(units, files);
  return { ...result, files };
}

/** What has changed is started anew. */
function startUnits(units: readonly Unit[], files: readonly InstalledFile[]): void {
  systemctl("daemon-reload");
  const written = files.filter(({ change }) => change === "written").map(({ path }) => path);
  for (const { name, wantedBy } of units) {
    const isNew = written.some((path) => path.endsWith(`/${name}`));
    if (wantedBy !== undefined) systemctl(isNew ? "restart" : "start", "--no-block", name);
  }
}

/** @returns What was removed. @throws IbackupError IO, NOT_PERMITTED. */
export function uninstall(root: string): InstalledFile[] {
  const names = ourUnits(root);
  if (root === "/" && isRunning() && names.length > 0) systemctl("stop", ...names);
  const files = writing(root, () => removeUnits(root, new Set()));
  if (root === "/" && isRunning()) {
    systemctl("daemon-reload");
    // Units that have failed would be remembered.
    for (const name of names) spawnSync("systemctl", ["reset-failed", name]);
  }
  return files;
}

function hasSystemd(root: string): boolean {
  return root === "/" ? isRunning() : existsSync(join(root, "etc"));
}

function isRunning(): boolean {
  return existsSync("/run/systemd/system");
}

/** A unit of that name may be the user's own. */
function refuseForeign(path: string): void {
  if (textOf(path)?.startsWith(MARK) ?? true) return;
  throw new IbackupError("IO", `Cannot write "${path}"`, {
    why: "there is one already, and not of `ibackup install`",
    fix: "move it away, or keep it and do without `ibackup install`",
  });
}

function writeUnit(root: string, { name, text, wantedBy }: Unit): InstalledFile[] {
  const path = join(root, UNIT_FOLDER, name);
  const draft = `${path}.new`;
  // Of an install that was broken off.
  rmSync(draft, { force: true });
  const isSame = textOf(path) === text;
  if (!isSame) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(draft, text, { mode: 0o644 });
    renameSync(draft, path);
  }
  const files = [fileOf(path, !isSame)];
  if (wantedBy === undefined) return files;
  const link = join(root, UNIT_FOLDER, `${wantedBy}.wants`, name);
  const target = `/${UNIT_FOLDER}/${name}`;
  const isLinked = linkOf(link) === target;
  if (!isLinked) {
    mkdirSync(dirname(link), { recursive: true });
    rmSync(link, { force: true });
    symlinkSync(target, link);
  }
  return [...files, fileOf(link, !isLinked)];
}

function fileOf(path: string, isNew: boolean): InstalledFile {
  return { path, change: isNew ? "written" : "unchanged" };
}

/** Units of ours that are not among those that stay, with the links to them. */
function removeUnits(root: string, staying: ReadonlySet<string>): InstalledFile[] {
  const folder = join(root, UNIT_FOLDER);
  return ourUnits(root)
    .filter((name) => !staying.has(name))
    .flatMap((name) => {
      const paths = [...linksTo(folder, name), join(folder, name)];
      for (const path of paths) {
        rmSync(path);
        if (dirname(path) !== folder) removeIfEmpty(dirname(path));
      }
      return paths.map((path) => ({ path, change: "removed" as const }));
    });
}

function ourUnits(root: string): string[] {
  const folder = join(root, UNIT_FOLDER);
  return namesIn(folder)
    .filter((name) => /^ibackup[a-z-]*\.(service|timer)$/.test(name))
    .filter((name) => textOf(join(folder, name))?.startsWith(MARK));
}

function linksTo(folder: string, name: string): string[] {
  return namesIn(folder)
    .filter((it) => it.endsWith(".wants"))
    .map((it) => join(folder, it, name))
    .filter((path) => linkOf(path) !== undefined);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort();
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch (error) {
    if (systemCodeOf(error) !== "ENOTEMPTY") throw error;
  }
}

/** Undefined: there is no such file. */
function textOf(path: string): string | undefined {
  try {
    return lstatSync(path).isFile() ? readFileSync(path, "utf8") : "";
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (["ENOENT", "EINVAL"].includes(systemCodeOf(error) ?? "")) return undefined;
    throw error;
  }
}

function writing(root: string, write: () => InstalledFile[]): InstalledFile[] {
  try {
    return write();
  } catch (error) {
    const isDenied = ["EACCES", "EPERM"].includes(systemCodeOf(error) ?? "");
    throw new IbackupError(
      isDenied ? "NOT_PERMITTED" : "IO",
      `Cannot change the units in "${join(root, UNIT_FOLDER)}"`,
      {
        why: messageOf(error),
        fix: isDenied
          ? "run it as root"
          : "mend that, and run it again: it goes on where it broke off",
        cause: error,
      },
    );
  }
}

function systemctl(...args: string[]): void {
  const { status, stderr, error } = spawnSync("systemctl", args, { encoding: "utf8" });
  if (status === 0) return;
  throw new IbackupError("IO", `Cannot run \`systemctl ${args.join(" ")}\``, {
    why: error?.message ?? (stderr.trim() || `it ended with status ${status}`),
    fix: "the units are written: see what systemd says, and run it again",
  });
}

function noSystemd(root: string, crontab: readonly string[]): IbackupError {
  return new IbackupError("UNSUPPORTED", `Cannot install units in "${root}"`, {
    why: root === "/" ? "systemd does not run here" : "there is no folder `etc` in it",
    fix: `write into /etc/crontab:\n${crontab.map((line) => `    ${line}`).join("\n")}\n `,
  });
}
