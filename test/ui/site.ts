/** A page that is served, the daemon behind it, and a browser that sends what it is told to. */
import { randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { type IncomingMessage, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { serveOnSocket, type WebServer } from "../../src/runtime/web_server.ts";
import { type ServedUi, serveUi } from "../../src/ui/serve.ts";

export interface Sent {
  method?: string;
  headers?: Record<string, string>;
  body?: string;
}

export interface Got {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

const FILES = {
  "/": { type: "text/html; charset=utf-8", content: "<!doctype html><title>page</title>" },
  "/page.js": { type: "text/javascript; charset=utf-8", content: "page();" },
};

export class UiSite {
  readonly #folder = mkdtempSync(join(tmpdir(), "ibackup-ui-"));
  readonly #upstream: WebServer;
  readonly ui: ServedUi;
  /** What the page is told of the time. */
  nowMs = 0;
  /** What the daemon was asked. */
  readonly asked: string[] = [];
  /** What the daemon answers. */
  answer: (request: Request) => Response | Promise<Response> = () => Response.json({ fine: true });

  constructor() {
    const socketPath = join(this.#folder, "daemon.sock");
    this.#upstream = serveOnSocket(socketPath, {
      handler: (asked) => {
        const { pathname, search } = new URL(asked.url);
        this.asked.push(pathname + search);
        return this.answer(asked);
      },
      bodyBytesMax: 1 << 20,
    });
    this.ui = serveUi({
      ...{ socketPath, port: 0, files: FILES, random: randomBytes },
      monotonicMs: () => this.nowMs,
    });
  }

  get host(): string {
    return `127.0.0.1:${this.ui.port}`;
  }

  get token(): string {
    return new URL(this.ui.url).searchParams.get("token") ?? "";
  }

  async send(path: string, sent: Sent = {}): Promise<Got> {
    const answer = await this.begin(path, sent);
    const { statusCode = 0, headers } = answer;
    return { status: statusCode, headers, body: await text(answer) };
  }

  /** @returns As soon as the headers are there. */
  async begin(
    path: string,
    { method = "GET", headers = {}, body }: Sent,
  ): Promise<IncomingMessage> {
    return await new Promise((resolve, reject) => {
      const place = { host: "127.0.0.1", port: this.ui.port, agent: false as const };
      const call = request({ ...place, method, path, headers: { host: this.host, ...headers } });
      call.on("response", resolve);
      call.on("error", reject);
      call.end(body);
    });
  }

  /** Opens the session. @returns What the page sends from then on. */
  async open(): Promise<{ cookie: string; csrf: string }> {
    const { headers } = await this.send(`/open?token=${this.token}`);
    const [cookie = ""] = headers["set-cookie"]?.[0]?.split(";") ?? [];
    const { body } = await this.send("/session.json", { headers: { cookie } });
    return { cookie, csrf: (JSON.parse(body) as { csrf: string }).csrf };
  }

  async stopDaemon(): Promise<void> {
    await this.#upstream.close();
  }

  async close(): Promise<void> {
    await this.ui.close();
    await this.#upstream.close();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
