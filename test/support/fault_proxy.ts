/** Stands between ibackup and a real S3 server, and spoils the Nth request. */
import { Buffer } from "node:buffer";
import { createServer, type IncomingHttpHeaders, request, type ServerResponse } from "node:http";

/**
 * - "busy": 503 SlowDown, and the request does not reach the server;
 * - "refuse": the connection breaks before the request reaches the server;
 * - "lose": the server does it, and the connection breaks before the answer;
 * - "twice": the server does it twice, and the second answer is given;
 * - "late": the connection breaks at once, and the server does it when the process has gone on;
 * - "hang": nothing comes back, and the request does not reach the server;
 * - "break off": the answer ends in the middle of its body;
 * - "flip": one bit of the answer's body is another.
 */
export const PROXY_FAULTS = [
  "busy",
  "refuse",
  "lose",
  "twice",
  "late",
  "hang",
  "break off",
  "flip",
] as const;
export type ProxyFault = (typeof PROXY_FAULTS)[number];

interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

interface Asked {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface FaultProxy {
  /** `http://127.0.0.1:PORT`. */
  endpoint: string;
  /** Requests since the last `spoil`. */
  readonly count: number;
  /** What was spoilt since then: "PUT /bucket/key"; undefined when it did not come to that. */
  readonly spoilt: string | undefined;
  /** From now on counted anew; 0 spoils none. */
  spoil(nth: number, fault: ProxyFault): void;
  /** Lets happen what came late. */
  settle(): Promise<void>;
  close(): Promise<void>;
}

/** @param target `http://127.0.0.1:PORT` of the server. */
export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const state = {
    count: 0,
    nth: 0,
    fault: "busy" as ProxyFault,
    spoilt: undefined as string | undefined,
  };
  const late: Asked[] = [];
  const server = createServer((incoming, response) => {
    const parts: Uint8Array[] = [];
    incoming.on("data", (part) => parts.push(part));
    incoming.on("end", () => {
      const { method = "", url: path = "", headers } = incoming;
      const asked = { method, path, headers, body: Buffer.concat(parts) };
      state.count += 1;
      const isTurn = state.count === state.nth;
      if (isTurn) state.spoilt = `${method} ${path}`;
      const served = isTurn
        ? serveSpoilt(target, { asked, fault: state.fault, late }, response)
        : forward(target, asked).then((answer) => send(response, answer));
      // The server is gone as well: as if the connection had broken.
      served.catch(() => response.socket?.destroy());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    get count() {
      return state.count;
    },
    get spoilt() {
      return state.spoilt;
    },
    spoil: (nth, fault) => Object.assign(state, { count: 0, nth, fault, spoilt: undefined }),
    settle: async () => {
      for (const asked of late.splice(0)) await forward(target, asked);
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function serveSpoilt(
  target: string,
  { asked, fault, late }: { asked: Asked; fault: ProxyFault; late: Asked[] },
  response: ServerResponse,
): Promise<void> {
  switch (fault) {
    case "busy": {
      const body = Buffer.from("<Error><Code>SlowDown</Code></Error>");
      return send(response, { status: 503, headers: {}, body });
    }
    case "hang":
      return;
    case "late":
      if (asked.method !== "GET" && asked.method !== "HEAD") late.push(asked);
      response.socket?.destroy();
      return;
    case "refuse":
      response.socket?.destroy();
      return;
    case "lose":
      await forward(target, asked);
      response.socket?.destroy();
      return;
    case "twice":
      await forward(target, asked);
      return send(response, await forward(target, asked));
    case "break off":
    case "flip": {
      const answer = await forward(target, asked);
      if (fault === "flip") return send(response, flipped(answer));
      response.writeHead(answer.status, answer.headers);
      response.write(answer.body.subarray(0, answer.body.length >> 1), () =>
        response.socket?.destroy(),
      );
    }
  }
}

function forward(target: string, { method, path, headers, body }: Asked): Promise<Answer> {
  return new Promise((resolve, reject) => {
    // The signature covers the name of the host, so it stays that of the proxy.
    const outgoing = request(target + path, { method, headers }, (incoming) => {
      const parts: Uint8Array[] = [];
      incoming.on("data", (part) => parts.push(part));
      incoming.on("error", reject);
      incoming.on("end", () => {
        const { statusCode = 0, headers: answered } = incoming;
        resolve({ status: statusCode, headers: answered, body: Buffer.concat(parts) });
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

function send(response: ServerResponse, { status, headers, body }: Answer): void {
  const { "transfer-encoding": _, ...others } = headers;
  response.writeHead(status, others);
  response.end(body);
}

function flipped(answer: Answer): Answer {
  const body = Buffer.from(answer.body);
  const at = body.length >> 1;
  if (body.length > 0) body[at] = (body[at] ?? 0) ^ 1;
  return { ...answer, body };
}
