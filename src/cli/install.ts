import { resolve } from "node:path";
import { execPath } from "node:process";
import type { Settings } from "../config/settings.ts";
import { IbackupError } from "../errors.ts";
import type { Installed } from "../job/install.ts";
import { newCommand, type Result, type Run, rootOf } from "./command.ts";

export function installCommand(run: Run) {
  return newCommand({
    name: "install",
    summary: "have systemd track the disks from early at boot on, and take the backups",
    details: [
      "Writes and enables units for `disks` of the config file, and starts them: one that begins to track",
      "before file systems are mounted, and the daemon; or with --timer a timer that takes a backup when",
      "[trigger] says that one is due, or each hour without [trigger]. Run again, it changes only what",
      "differs. Units of these names that it did not write are never touched. `uninstall` removes all.",
      "Without systemd it writes nothing, and prints lines for /etc/crontab. ibackup must lie on the root",
      "file system: the others come later.",
    ].join("\n"),
    examples: ["ibackup install", "ibackup install --print", "ibackup install --root /mnt/image"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "IO"],
  })
    .option("--root <folder>", "of the system that is installed into", "/")
    .option("--program <path>", "where ibackup is in that system (default: where it is now)")
    .option("--timer", "take backups by a timer, in the place of the daemon")
    .option("--print", "print what would be written, and write nothing")
    .action(async ({ root, program, timer = false, print = false }, command) => {
      const tree = rootOf(command);
      const { config: given } = tree.opts() as { config?: string };
      await run(async ({ settings }) => {
        const { install } = await import("../job/install.ts");
        const installed = install({
          root: resolve(root),
          print,
          program: wordOf(program ?? ownPath()),
          disks: disksOf(settings),
          configFile: given === undefined ? undefined : wordOf(resolve(given)),
          hasDaemon: !timer && tree.commands.some((it) => it.name() === "daemon"),
          hasTrigger: settings.trigger !== undefined,
        });
        return resultOf(installed, print);
      });
    });
}

export function uninstallCommand(run: Run) {
  return newCommand({
    name: "uninstall",
    summary: "take back what `install` has done, and stop tracking",
    details: [
      "Stops and removes the units, detaches the hooks, and removes /run/ibackup. With --purge also the",
      "digests in /var/cache/ibackup and what is in /var/lib/ibackup: this machine then signs by a new key,",
      "and no longer knows which backups it has made. The config file and the repository stay.",
    ].join("\n"),
    examples: ["ibackup uninstall", "ibackup uninstall --purge"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "TRACKER", "IO"],
  })
    .option("--root <folder>", "of the system that it is removed from", "/")
    .option("--purge", "remove also what this machine remembers")
    .action(async ({ root: given, purge = false }) => {
      await run(async ({ context }) => {
        const root = resolve(given);
        const { uninstall } = await import("../job/install.ts");
        const files = uninstall(root);
        // Units that stop tracking would be for nothing in a system that does not run.
        const { clearMachine } = await import("../job/clear_machine.ts");
        const { stopped, folders } =
          root === "/" ? await clearMachine(context, purge) : { stopped: [], folders: [] };
        const lines = [...files.map(({ path }) => path), ...folders].map((it) => `Removed ${it}`);
        if (stopped.length > 0) lines.push(`Stopped tracking ${stopped.join(", ")}`);
        return {
          json: { root, files, stopped, folders },
          text: lines.length === 0 ? "Nothing was installed" : lines.join("\n"),
        };
      });
    });
}

function disksOf({ disks }: Settings): readonly string[] {
  if (disks.length > 0) return disks;
  throw new IbackupError("USAGE", "Cannot tell which disks are to be backed up", {
    why: "the config file has no `disks`, and units are run without arguments",
    fix: 'write for example `disks = ["/dev/vda"]` into /etc/ibackup/config.toml',
  });
}

/** From a checkout it is the runtime that runs: a unit would start that. */
function ownPath(): string {
  if (!/\/(bun|deno|node)(\.exe)?$/.test(execPath)) return execPath;
  throw new IbackupError("USAGE", "Cannot tell where ibackup is", {
    why: `it is run by ${execPath}, from its source`,
    fix: "run `npm run build`, and `dist/ibackup install`; or give --program",
  });
}

/** Unit files and crontabs take some characters for their own. */
function wordOf(path: string): string {
  if (/^\/[\w@+=:,./-]+$/.test(path)) return path;
  throw new IbackupError("USAGE", `Cannot use the path "${path}" in units`, {
    why: "it is not absolute, or has other characters than letters, digits and @+=:,._-",
    fix: "move the file to where it has a plain name",
  });
}

function resultOf({ root, files, units, crontab }: Installed, isPrinted: boolean): Result {
  const json = { root, files, units, crontab };
  if (!isPrinted) {
    return { json, text: files.map(({ path, change }) => `${change}: ${path}`).join("\n") };
  }
  const texts = units.map(({ name, text }) => `# /etc/systemd/system/${name}\n${text}`);
  const cron = ["# Without systemd, in /etc/crontab:", ...crontab].join("\n");
  return { json, text: [...texts, cron].join("\n") };
}
