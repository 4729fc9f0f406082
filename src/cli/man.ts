/** Manual pages. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IbackupError, messageOf } from "../errors.ts";
import { newCommand, type Print, type Run, rootOf } from "./command.ts";
import { type ManPage, manPages } from "./man_page.ts";

export function manCommand(_: Run, print: Print) {
  return newCommand({
    name: "man",
    summary: "print the manual page of a command, or write all of them to a folder",
    details: [
      "Without COMMAND it is the page of ibackup itself. What is printed is the source: `man` shows it.",
      'With --json: {"pages": [{"fileName", "text"}]}, or with --out {"out", "files"}.',
    ].join("\n"),
    examples: [
      "ibackup man --out /usr/local/share/man/man8",
      "ibackup man track start | man --local-file -",
    ],
    statuses: ["IO"],
  })
    .argument("[command...]", "such as `track start`")
    .option("--out <folder>", "write the pages of all commands to this folder")
    .action(async (names, { out }, command) => {
      const program = rootOf(command);
      const pages = manPages(program, program.version() ?? "");
      if (out !== undefined) {
        const files = writePages(out, pages);
        return await print({ json: { out, files }, text: files.join("\n") });
      }
      const fileName = `${["ibackup", ...names].join("-")}.8`;
      const page = pages.find((it) => it.fileName === fileName);
      if (page === undefined) throw noPage(names);
      await print({ json: { pages: [page] }, text: page.text.trimEnd() });
    });
}

/** @returns The paths of the files. @throws IbackupError IO. */
function writePages(folder: string, pages: readonly ManPage[]): string[] {
  try {
    mkdirSync(folder, { recursive: true });
    return pages.map(({ fileName, text }) => {
      const path = join(folder, fileName);
      writeFileSync(path, text);
      return path;
    });
  } catch (error) {
    throw new IbackupError("IO", `Cannot write manual pages to "${folder}"`, {
      why: messageOf(error),
      fix: "name a folder that you can write to",
      cause: error,
    });
  }
}

function noPage(names: readonly string[]): IbackupError {
  return new IbackupError("USAGE", `Cannot show the page of \`ibackup ${names.join(" ")}\``, {
    why: "there is no such command",
    fix: "`ibackup --help` shows the commands",
  });
}
