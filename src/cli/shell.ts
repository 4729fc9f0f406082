import { newCommand } from "./command.ts";

/** @param start Runs the shell to its end. */
export function shellCommand(start: () => Promise<void>) {
  return newCommand({
    name: "shell",
    summary: "look at backups and restore them, in a dialogue",
    details: [
      "Made for rescue, on a bare console too. Asks for what it was not given: the repository, the keys of",
      "its store, and who opens the backups; nothing of that is shown or written to a disk. Then it takes",
      "commands such as `list`, `plan`, `restore`, `verify`, `compare`; Tab completes, `help` lists them, and",
      "whatever goes wrong, the next one can be tried. Ctrl-C stops a command, `exit` or Ctrl-D the shell.",
    ].join("\n"),
    examples: [
      "ibackup shell",
      "ibackup shell --repo 's3://bucket/web-1?endpoint=https://s3.example.org'",
    ],
    statuses: [],
  }).action(start);
}
