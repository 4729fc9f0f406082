import { IbackupError } from "../errors.ts";
import { newCommand, type Run, type Session } from "./command.ts";

const PORT_MAX = 65_535;

export function uiCommand(run: Run) {
  return newCommand({
    name: "ui",
    summary: "serve a page that shows what happens, takes backups and restores them",
    details: [
      "Prints an address for a browser on this machine, and serves until it is ended. The address holds",
      "a secret that opens the page once, within ten minutes: whoever opens it can do what root can do",
      "with ibackup. So paste it into the browser, and give it to no program as an argument. Served is",
      "127.0.0.1 only; from elsewhere: `ssh -L 8080:127.0.0.1:8080 HOST`, with --port 8080. A daemon has",
      "to run (`ibackup daemon`), which does what the page asks for.",
    ].join("\n"),
    examples: ["ibackup ui", "ibackup ui --port 8080"],
    statuses: ["NOT_PERMITTED", "UNSUPPORTED", "IO"],
  })
    .option("--port <port>", "TCP port to listen on, from 1 to 65535 (default: one that is free)")
    .action(async ({ port }) => {
      await run(async (session) => {
        await serve(session, port === undefined ? 0 : parsePort(port));
        return undefined;
      });
    });
}

async function serve({ context, print }: Session, port: number): Promise<void> {
  const { findDaemon } = await import("../api/client.ts");
  const { socketPathIn } = await import("../api/socket.ts");
  const { pageFiles } = await import("../ui/assets.ts");
  const { serveUi } = await import("../ui/serve.ts");
  const runtimeFolder = context.runtimeDir();
  if ((await findDaemon(runtimeFolder)) === undefined) throw noDaemon();
  const { random, clock, signal } = context;
  const served = serveUi({
    ...{ port, files: pageFiles(), socketPath: socketPathIn(runtimeFolder) },
    ...{ random, monotonicMs: () => clock.monotonicMs() },
  });
  try {
    await print({ json: { url: served.url, port: served.port }, text: served.url });
    if (signal.aborted) return;
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  } finally {
    await served.close();
  }
}

function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= PORT_MAX) return port;
  throw new IbackupError("USAGE", `Cannot understand the port "${text}"`, {
    why: `a port is a number from 1 to ${PORT_MAX}`,
    fix: "name one, such as --port 8080, or leave it out",
  });
}

function noDaemon(): IbackupError {
  return new IbackupError("IO", "Cannot serve the page", {
    why: "no daemon runs on this machine, and it does all that the page shows",
    fix: "start it: `systemctl start ibackup`, or `ibackup daemon` in another terminal",
  });
}
