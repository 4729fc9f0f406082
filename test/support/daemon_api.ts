/** Asks the daemon of a test, without what the client of the command line knows. */
import { request } from "node:http";
import { text } from "node:stream/consumers";

export interface Answer<T> {
  status: number;
  document: T;
}

export async function askDaemon<T>(
  socketPath: string,
  path: string,
  body?: object,
): Promise<Answer<T>> {
  return await new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const headers = { host: "localhost", "content-type": "application/json" };
    const call = request({ socketPath, method, path, headers }, (answer) => {
      text(answer).then((content) => {
        resolve({ status: answer.statusCode ?? 0, document: JSON.parse(content) as T });
      }, reject);
    });
    call.on("error", reject);
    call.end(body === undefined ? undefined : JSON.stringify(body));
  });
}
