import type { GlobalOptions } from "../config/settings.ts";
import { newCommand, type Run } from "./command.ts";
import { table } from "./text.ts";

export function configCommand(run: Run) {
  return newCommand({
    name: "config",
    summary: "check the config file, and show what is set and where",
    examples: ["ibackup config check", "ibackup config show --json"],
    statuses: [],
  })
    .addCommand(checkCommand(run))
    .addCommand(showCommand(run));
}

function checkCommand(run: Run) {
  return newCommand({
    name: "check",
    summary: "say whether the config file can be used, and name all its mistakes",
    details: 'No default config file is fine. With --json: {"file", "valid"}, or an error.',
    examples: ["ibackup config check", "ibackup config check --config new.toml"],
    statuses: [],
  }).action(async () => {
    await run(async ({ settings: { configFile: file } }) => {
      const text = file === undefined ? "no config file: defaults are used" : `${file} is valid`;
      return { json: { file: file ?? null, valid: true }, text };
    });
  });
}

function showCommand(run: Run) {
  return newCommand({
    name: "show",
    summary: "print every setting, its value, and where that comes from",
    details: [
      "Arguments go before the environment, the environment before the config file, the file before",
      "defaults. Of hooks, and of URLs with a password, what may be secret is not printed.",
      'With --json: {"settings": [{"name", "value", "origin"}]}.',
    ].join("\n"),
    examples: ["ibackup config show", "ibackup config show --repo file:///srv/backup --json"],
    statuses: [],
  }).action(async (_options, command) => {
    await run(async ({ context, settings }) => {
      const { showSettings } = await import("../config/origins.ts");
      const { DEFAULT_FREEZE } = await import("../job/flush_task.ts");
      const options = command.optsWithGlobals() as GlobalOptions;
      const resolved = { settings, freeze: DEFAULT_FREEZE };
      const shown = showSettings(options, context.environment, resolved);
      const rows = shown.map(({ name, value, origin }) => [name, value ?? "-", origin]);
      return {
        json: { settings: shown },
        text: table([["SETTING", "VALUE", "FROM"], ...rows]),
      };
    });
  });
}
