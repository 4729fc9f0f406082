import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { env } from "node:process";

/** One request as it came in. */
export interface Seen {
  method: string;
  /** Path and query. */
  path: string;
  headers: IncomingMessage["headers"];
  body: Uint8Array;
}

/** Answers one request. Doing nothing is a server that hangs. */
export type Answer = (response: ServerResponse, seen: Seen) => void;

/** A server that gives the answers of a script, for what a real one cannot be made to do. */
export interface FakeS3 {
  /** `s3://bucket?endpoint=...`. */
  url(parameters?: Record<string, string>): URL;
  /** What came in so far. */
  seen: Seen[];
  /** Answers to come, first first. A request beyond them gets 418, which nobody retries. */
  script: Answer[];
  close(): Promise<void>;
}

export async function startFakeS3(): Promise<FakeS3> {
  env["AWS_ACCESS_KEY_ID"] ??= "FAKEACCESSKEY";
  env["AWS_SECRET_ACCESS_KEY"] ??= "fakeSecretKey";
  const seen: Seen[] = [];
  const script: Answer[] = [];
  const server = createServer((request, response) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const { method = "", url: path = "", headers } = request;
      const one = { method, path, headers, body: new Uint8Array(Buffer.concat(chunks)) };
      seen.push(one);
      const answer = script.shift() ?? failure(418, "BeyondTheScript");
      answer(response, one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  return {
    url: (parameters = {}) => {
      const endpoint = `http://127.0.0.1:${port}`;
      return new URL(`s3://bucket?${new URLSearchParams({ endpoint, ...parameters })}`);
    },
    seen,
    script,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An error in the XML of S3; without a body to HEAD, as HTTP has it. */
export function failure(status: number, code: string): Answer {
  return (response, { method }) => {
    response.writeHead(status, { "content-type": "application/xml" });
    const xml = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>so it is</Message></Error>`;
    response.end(method === "HEAD" ? undefined : xml);
  };
}

export function success(
  body: string | Uint8Array = "",
  headers: Record<string, string> = {},
): Answer {
  return (response) => {
    const bytes = Buffer.from(body);
    response.writeHead(headers["content-range"] === undefined ? 200 : 206, {
      "content-length": String(bytes.length),
      ...headers,
    });
    response.end(bytes);
  };
}

/** The first bytes of an answer that announces `length`, and then the end of the connection. */
export function truncated(body: string, length: number): Answer {
  return (response) => {
    response.writeHead(200, { "content-length": String(length) });
    response.write(body, () => response.socket?.destroy());
  };
}

/** The first byte, and never the rest. */
export function stuck(length: number): Answer {
  return (response) => {
    response.writeHead(200, { "content-length": String(length) });
    response.write("x");
  };
}

export const hang: Answer = () => {};

/** The request arrived, and the connection breaks before the answer. */
export const dropped: Answer = (response) => {
  response.socket?.destroy();
};
