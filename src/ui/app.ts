/** What the page's browser is answered: the page itself, its session, and the daemon's API. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { BODY_BYTES_MAX } from "../api/app.ts";
import type { PageFiles } from "./assets.ts";
import { forward } from "./forward.ts";
import { COOKIE, type Refusal, refuseForeign, refuseStranger, SECURITY_HEADERS } from "./guard.ts";
import type { Session } from "./session.ts";

export interface UiOptions {
  /** Of the daemon. */
  socketPath: string;
  session: Session;
  files: PageFiles;
}

/** Of one request. */
interface Asking {
  /** Where the page is served. */
  port: number;
  /** The user whose program asks; undefined when it has gone. */
  whoAsks(): number | undefined;
}

type UiApp = (request: Request, asking: Asking) => Promise<Response>;

const AGAIN = "Run `ibackup ui` again, and open the address that it prints.";

export function makeUiApp({ socketPath, session, files }: UiOptions): UiApp {
  const app = new Hono<{ Bindings: Asking }>();
  app.use(async ({ req, env }, next) => {
    const refusal = refuseForeign(req.raw.headers, env.port);
    return refusal === undefined ? await next() : refused(refusal);
  });
  app.get("/open", ({ req, env }) => {
    const cookie = session.open(req.query("token") ?? "", env.whoAsks);
    if (cookie === undefined) {
      return refused({ status: 403, why: "the token is wrong, was used, or is too old" });
    }
    const headers = {
      location: "/",
      "set-cookie": `${COOKIE}=${cookie}; HttpOnly; SameSite=Strict; Path=/`,
      // Whoever had the port before may have left a service worker behind.
      "clear-site-data": '"storage"',
    };
    return new Response(null, { status: 303, headers });
  });
  app.use(async ({ req, env }, next) => {
    const refusal = refuseStranger(req.raw, session, env.whoAsks);
    return refusal === undefined ? await next() : refused(refusal);
  });
  app.get("/session.json", ({ json }) => json({ csrf: session.csrf }));
  for (const [path, { type, content }] of Object.entries(files)) {
    app.get(path, () => new Response(content, { headers: { "content-type": type } }));
  }
  app.use("/v1/*", bodyLimit({ maxSize: BODY_BYTES_MAX }));
  app.on(["GET", "POST"], "/v1/*", async ({ req }) => {
    const { pathname, search } = new URL(req.url);
    return await forward(socketPath, pathname + search, req.raw);
  });
  return async (request, asking) => {
    const answer = await app.fetch(request, asking);
    for (const [name, value] of Object.entries(SECURITY_HEADERS)) answer.headers.set(name, value);
    return answer;
  };
}

function refused({ status, why }: Refusal): Response {
  return new Response(`Refused: ${why}.\n${AGAIN}\n`, {
    status,
    headers: { "content-type": "text/plain; charset=utf-8" },
  });
}
