/** A web server on a Unix socket, or on the loopback address: each runtime has its own. */

export interface WebServer {
  /** Undefined on a Unix socket. */
  port: number | undefined;
  /** Ends every connection; nothing listens any more. */
  close(): Promise<void>;
}

/** Whoever asks. */
export interface WebPeer {
  /** As 127.0.0.1 is written. */
  address: string;
  port: number;
}

/** @param peer Undefined on a Unix socket. */
export type WebHandler = (
  request: Request,
  peer: WebPeer | undefined,
) => Response | Promise<Response>;

type BunPlace = { unix: string } | { hostname: string; port: number };

interface BunServer {
  port: number | undefined;
  requestIP(request: Request): WebPeer | null;
  stop(closeConnections: boolean): Promise<void>;
}

interface BunServe {
  serve(
    options: BunPlace & {
      fetch(request: Request, server: BunServer): Response | Promise<Response>;
      idleTimeout: number;
      maxRequestBodySize: number;
    },
  ): BunServer;
}

interface DenoServe {
  serve(
    options: ({ path: string } | { hostname: string; port: number }) & { onListen(): void },
    handler: (
      request: Request,
      info: { remoteAddr: { hostname: string; port: number } | { path: string } },
    ) => Response | Promise<Response>,
  ): { addr: { port?: number }; shutdown(): Promise<void> };
}

/** A connection that says nothing for so long is closed: longer than the daemon takes to answer. */
const IDLE_S = 75;
/** Where it listens. */
export const LOOPBACK = "127.0.0.1";

interface WebServerOptions {
  handler: WebHandler;
  /** The runtime refuses what is larger, where it can. */
  bodyBytesMax: number;
}

/** @param path Nothing is there. */
export function serveOnSocket(path: string, options: WebServerOptions): WebServer {
  return serve({ unix: path }, options);
}

/**
 * @param port 0: one that is free.
 * @throws What the system says, when the port is in use.
 */
export function serveOnLoopback(port: number, options: WebServerOptions): WebServer {
  return serve({ hostname: LOOPBACK, port }, options);
}

function serve(place: BunPlace, { handler, bodyBytesMax }: WebServerOptions): WebServer {
  const { Bun: bun, Deno: deno } = globalThis as { Bun?: BunServe; Deno?: DenoServe };
  if (bun) {
    const limits = { idleTimeout: IDLE_S, maxRequestBodySize: bodyBytesMax };
    const fetch = (request: Request, it: BunServer) =>
      handler(request, it.requestIP(request) ?? undefined);
    const server = bun.serve({ ...place, fetch, ...limits });
    return { port: server.port, close: () => server.stop(true) };
  }
  if (deno) {
    const where = "unix" in place ? { path: place.unix } : place;
    const server = deno.serve({ ...where, onListen: () => undefined }, (request, { remoteAddr }) =>
      handler(
        request,
        "path" in remoteAddr ? undefined : { address: remoteAddr.hostname, port: remoteAddr.port },
      ),
    );
    return { port: server.addr.port, close: () => server.shutdown() };
  }
  throw new Error("this runtime has no web server");
}
