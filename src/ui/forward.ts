/** Passes requests on to the daemon. */
import { type IncomingMessage, request as startRequest } from "node:http";
import { Readable } from "node:stream";
import { errorDocument, IbackupError, messageOf } from "../errors.ts";

/** Events come at least every ten seconds, and answers within a minute. */
const SILENCE_MS_MAX = 90_000;

/**
 * Streams the answer as it comes. When whoever asks goes away, the daemon is no longer asked.
 *
 * @param path With the query. Of the headers only what kind of body it is goes on, and comes back.
 */
export async function forward(
  socketPath: string,
  path: string,
  request: Request,
): Promise<Response> {
  const body = new Uint8Array(await request.arrayBuffer());
  try {
    const answer = await send({ socketPath, path, request, body });
    const type = answer.headers["content-type"];
    return new Response(Readable.toWeb(answer) as ReadableStream<Uint8Array>, {
      status: answer.statusCode ?? 502,
      headers: type === undefined ? {} : { "content-type": type },
    });
  } catch (error) {
    return Response.json(errorDocument(unreachable(messageOf(error))), { status: 502 });
  }
}

interface Sending {
  socketPath: string;
  path: string;
  request: Request;
  body: Uint8Array;
}

async function send({ socketPath, path, request, body }: Sending): Promise<IncomingMessage> {
  const { method, headers, signal } = request;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const type = headers.get("content-type");
  const call = startRequest(
    {
      ...{ socketPath, method, path, timeout: SILENCE_MS_MAX },
      headers: {
        host: "localhost",
        ...(type !== null && { "content-type": type }),
        ...(body.length > 0 && { "content-length": body.length }),
      },
    },
    resolve,
  );
  call.on("timeout", () => call.destroy(new Error("it does not answer")));
  call.on("error", reject);
  const stop = (): void => void call.destroy(new Error("nobody waits any more"));
  signal.addEventListener("abort", stop);
  if (signal.aborted) stop();
  call.end(body);
  return await promise;
}

function unreachable(why: string): IbackupError {
  return new IbackupError("IO", "Cannot talk to the daemon", {
    why,
    fix: "see whether it runs: `systemctl status ibackup`, and its log: `journalctl -u ibackup`",
  });
}
