/** Talks to the daemon of this machine. */
import { type IncomingMessage, request } from "node:http";
import { text } from "node:stream/consumers";
import type { z } from "@hono/zod-openapi";
import { type ErrorCode, EXIT_STATUS, IbackupError, messageOf } from "../errors.ts";
import {
  errorSchema,
  type FlushDocument,
  type FlushRequest,
  flushesSchema,
  flushSchema,
  type StatusDocument,
  statusSchema,
} from "./schemas.ts";
import { isAnswered, isSocketThere, socketPathIn } from "./socket.ts";

const ANSWER_MS_MAX = 90_000;
const POLL_MS = 200;

export class DaemonClient {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async status(): Promise<StatusDocument> {
    return this.#parse(statusSchema, await this.#ask("GET", "/v1/status"));
  }

  async metrics(): Promise<string> {
    return await this.#ask("GET", "/v1/metrics");
  }

  /** @returns What a track command prints with --json. */
  async track(action: "start" | "stop", asked: object): Promise<unknown> {
    return JSON.parse(await this.#ask("POST", `/v1/track/${action}`, asked));
  }

  /**
   * Waits until the flush of each device has ended.
   * @param onChange Called with what is known of the one under way.
   * @param signal Aborted: no longer waited for; the flushes go on.
   */
  async *flush(
    asked: FlushRequest,
    { onChange, signal }: { onChange: (flush: FlushDocument) => void; signal: AbortSignal },
  ): AsyncGenerator<FlushDocument> {
    const answer = await this.#ask("POST", "/v1/flushes", asked);
    for (let flush of this.#parse(flushesSchema, answer).flushes) {
      while (flush.state === "waiting" || flush.state === "running") {
        signal.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        flush = this.#parse(flushSchema, await this.#ask("GET", `/v1/flushes/${flush.id}`));
        onChange(flush);
      }
      yield flush;
    }
  }

  async #ask(method: string, path: string, body?: object): Promise<string> {
    try {
      const answer = await this.#send(method, path, body);
      const content = await text(answer);
      if ((answer.statusCode ?? 500) < 300) return content;
      throw failureOf(this.#parse(errorSchema, content).error);
    } catch (error) {
      throw error instanceof IbackupError ? error : unreachable(messageOf(error));
    }
  }

  #send(method: string, path: string, body: object | undefined): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const headers = { host: "localhost", "content-type": "application/json" };
      const options = { socketPath: this.#path, method, path, headers, timeout: ANSWER_MS_MAX };
      const call = request(options, resolve);
      call.on("timeout", () => call.destroy(new Error("it does not answer")));
      call.on("error", reject);
      call.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  #parse<T extends z.ZodType>(schema: T, content: string): z.output<T> {
    return schema.parse(JSON.parse(content));
  }
}

/**
 * @param runtimeFolder That only root can enter.
 * @returns Undefined when no daemon runs.
 * @throws IbackupError NOT_PERMITTED when something that is not a daemon's is in its place.
 */
export async function findDaemon(runtimeFolder: string): Promise<DaemonClient | undefined> {
  const path = socketPathIn(runtimeFolder);
  if (!isSocketThere(path) || !(await isAnswered(path))) return undefined;
  return new DaemonClient(path);
}

/** The same failure as if the work had been done here. */
export function failureOf(parts: z.output<typeof errorSchema>["error"]): IbackupError {
  const { code, what, why, fix } = parts;
  const known = code in EXIT_STATUS ? (code as ErrorCode) : "INTERNAL";
  return new IbackupError(known, what, { why, fix });
}

function unreachable(why: string): IbackupError {
  return new IbackupError("IO", "Cannot talk to the daemon", {
    why,
    fix: "see its log: `journalctl -u ibackup`; without a daemon the command works by itself",
  });
}
