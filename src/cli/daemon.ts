import type { LogFormat } from "../daemon/log.ts";
import { newCommand, type Run, type Session } from "./command.ts";

export function daemonCommand(run: Run) {
  return newCommand({
    name: "daemon",
    summary: "look after the disks: back up when it is due, prune, verify, answer questions",
    details: [
      "Looks after `disks` of the config file, else all that are tracked, and runs until it is ended.",
      "[trigger] says when a backup is due, [prune] and [verify] what is done by the calendar, [notify]",
      "whom to tell. SIGHUP reads the config file again; one that is not valid is refused. SIGTERM ends",
      "it: a backup under way is broken off, and nothing is lost. Where the store does not answer, it",
      "tries again, later and later. It logs to standard error, with --json one document a line.",
      "Root's programs can ask it on the socket daemon.sock in the runtime folder (HTTP; its",
      "/v1/openapi.json says what).",
    ].join("\n"),
    examples: ["ibackup daemon", "ibackup daemon --config /etc/ibackup/config.toml --json"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "TRACKER", "LOCKED"],
  }).action(async () => {
    await run(async (session) => {
      const { Daemon } = await import("../daemon/daemon.ts");
      const { systemClock } = await import("../daemon/clock.ts");
      const { LineLog } = await import("../daemon/log.ts");
      const { context, settings, loadSettings, machine } = session;
      const write = (line: string): void => void machine.writeError(line);
      const daemon = new Daemon({
        settings,
        context,
        loadSettings,
        openContext: (wanted) => machine.openContext(wanted),
        clock: systemClock,
        log: new LineLog(formatOf(session), write, () => systemClock.now()),
        configFile: settings.configFile ?? null,
      });
      machine.onHangup(() => daemon.reload());
      await daemon.run();
      return { json: { stopped: true }, text: "" };
    });
  });
}

function formatOf({ context, settings }: Session): LogFormat {
  if (settings.json) return "json";
  return context.environment["JOURNAL_STREAM"] === undefined ? "text" : "journald";
}
