/** A web server on a Unix socket: each runtime has its own. */

export interface UnixServer {
  /** Ends every connection; nothing listens any more. */
  close(): Promise<void>;
}

interface BunServe {
  serve(options: {
    unix: string;
    fetch(request: Request): Response | Promise<Response>;
    idleTimeout: number;
    maxRequestBodySize: number;
  }): { stop(closeConnections: boolean): Promise<void> };
}

interface DenoServe {
  serve(
    options: { path: string; onListen(): void },
    handler: (request: Request) => Response | Promise<Response>,
  ): { shutdown(): Promise<void> };
}

/** A connection that says nothing for so long is closed. */
const IDLE_S = 30;

/**
 * @param path Nothing is there.
 * @param bodyBytesMax The runtime refuses what is larger, where it can.
 */
export function serveOnSocket(
  path: string,
  handler: (request: Request) => Response | Promise<Response>,
  bodyBytesMax: number,
): UnixServer {
  const { Bun: bun, Deno: deno } = globalThis as { Bun?: BunServe; Deno?: DenoServe };
  if (bun) {
    const limits = { idleTimeout: IDLE_S, maxRequestBodySize: bodyBytesMax };
    const server = bun.serve({ unix: path, fetch: handler, ...limits });
    return { close: () => server.stop(true) };
  }
  if (deno) {
    const server = deno.serve({ path, onListen: () => undefined }, handler);
    return { close: () => server.shutdown() };
  }
  throw new Error("this runtime has no web server on Unix sockets");
}
