/** Serves the page on the loopback address of this machine, and nowhere else. */
import { BODY_BYTES_MAX } from "../api/app.ts";
import { IbackupError, systemCodeOf } from "../errors.ts";
import { keepOutOfCoreFiles } from "../runtime/core_files.ts";
import { serveOnLoopback, type WebHandler, type WebServer } from "../runtime/web_server.ts";
import { makeUiApp, type UiOptions } from "./app.ts";
import { peerUid } from "./peer.ts";
import { Session, type SessionOptions } from "./session.ts";

export interface ServedUi {
  /** It opens the page, once, within ten minutes. Whoever has it is root here. */
  url: string;
  port: number;
  close(): Promise<void>;
}

export interface ServeOptions extends SessionOptions, Omit<UiOptions, "session"> {
  /** 0: one that is free. */
  port: number;
}

/** @throws IbackupError USAGE when the port cannot be had. */
export function serveUi({ port: wanted, random, monotonicMs, ...options }: ServeOptions): ServedUi {
  keepOutOfCoreFiles();
  const session = new Session({ random, monotonicMs });
  const app = makeUiApp({ ...options, session });
  const handler: WebHandler = (request, peer) =>
    app(request, { port, whoAsks: () => peer && peerUid(peer, port) });
  const server = listen(wanted, handler);
  const { port = 0 } = server;
  const url = `http://127.0.0.1:${port}/open?token=${session.token}`;
  return { url, port, close: () => server.close() };
}

function listen(port: number, handler: WebHandler): WebServer {
  try {
    return serveOnLoopback(port, { handler, bodyBytesMax: 2 * BODY_BYTES_MAX });
  } catch (error) {
    const isTaken = systemCodeOf(error) === "EADDRINUSE";
    throw new IbackupError("USAGE", `Cannot listen on port ${port} of 127.0.0.1`, {
      why: isTaken ? "another program listens there" : `the system says ${systemCodeOf(error)}`,
      fix: "name another port, or leave --port out",
      cause: error,
    });
  }
}
