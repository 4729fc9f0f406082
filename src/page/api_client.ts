/** Asks the daemon, by way of the server that gave us this page. */
import type { Failure } from "./state.ts";

export class ApiFailure extends Error {
  readonly parts: Failure;

  constructor(parts: Failure) {
    super(`${parts.what}: ${parts.why}`);
    this.parts = parts;
  }
}

/** What to show of anything that was thrown. */
export function failureOf(error: unknown): Failure {
  if (error instanceof ApiFailure) return error.parts;
  const why = error instanceof Error ? error.message : String(error);
  return { what: "Cannot reach ibackup", why, fix: "see whether `ibackup ui` still runs" };
}

const SESSION_ENDED: Failure = {
  what: "This page may no longer ask",
  why: "its session has ended, or another one was opened",
  fix: "run `ibackup ui` again, and open the address that it prints",
};

let csrf: Promise<string> | undefined;

/** @throws ApiFailure */
export async function get<T>(path: string): Promise<T> {
  return await answerOf<T>(await fetch(path, { headers: { accept: "application/json" } }));
}

/** @throws ApiFailure */
export async function post<T>(path: string, body: object): Promise<T> {
  csrf ??= get<{ csrf: string }>("/session.json").then((session) => session.csrf);
  const token = await csrf.catch((error: unknown) => {
    csrf = undefined;
    throw error;
  });
  const headers = { "content-type": "application/json", "x-ibackup-csrf": token };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  return await answerOf<T>(answer);
}

async function answerOf<T>(answer: Response): Promise<T> {
  if (answer.status === 401) throw new ApiFailure(SESSION_ENDED);
  const content = await answer.text();
  if (answer.ok) return (content === "" ? undefined : JSON.parse(content)) as T;
  throw new ApiFailure(partsIn(content) ?? refused(answer.status, content));
}

function partsIn(content: string): Failure | undefined {
  try {
    return (JSON.parse(content) as { error?: Failure }).error;
  } catch {
    return undefined;
  }
}

function refused(status: number, content: string): Failure {
  const why = `the answer is ${status} ${content.slice(0, 200)}`;
  return { what: "Cannot do this", why, fix: "load the page again" };
}
