/** Whom the page answers: a request has to come from the page itself, in the session's browser. */
import { isSame, type Session } from "./session.ts";

export const COOKIE = "ibackup_session";
const CSRF_HEADER = "x-ibackup-csrf";

/** On every answer. Nothing is loaded from elsewhere, nor by anybody else. */
export const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "cache-control": "no-store",
};

export interface Refusal {
  status: 401 | 403;
  why: string;
}

/**
 * Refuses what another site has a browser send. A name that leads here is not enough: only the two
 * that `ibackup ui` means are answered to, so that no site can rebind its own.
 */
export function refuseForeign(headers: Headers, port: number): Refusal | undefined {
  const host = headers.get("host") ?? "";
  if (host !== `127.0.0.1:${port}` && host !== `localhost:${port}`) {
    return { status: 403, why: "this is not the address of the page" };
  }
  const origin = headers.get("origin");
  if (origin === null || origin === `http://${host}`) return undefined;
  return { status: 403, why: "another page asks" };
}

/**
 * Refuses what is not of the session, and what could be of another page in its browser.
 *
 * @param whoAsks The user whose program asks.
 */
export function refuseStranger(
  { method, headers }: Pick<Request, "method" | "headers">,
  session: Session,
  whoAsks: () => number | undefined,
): Refusal | undefined {
  if (!session.admits(cookieIn(headers.get("cookie") ?? ""), whoAsks)) {
    return { status: 401, why: "there is no session, or it has ended" };
  }
  const site = headers.get("sec-fetch-site") ?? "same-origin";
  const isOwn = site === "same-origin" || (site === "none" && method === "GET");
  if (!isOwn) return { status: 403, why: "another page asks" };
  if (method === "GET" || isSame(headers.get(CSRF_HEADER) ?? "", session.csrf)) return undefined;
  return { status: 403, why: `${CSRF_HEADER} is not what the page was given` };
}

function cookieIn(header: string): string {
  const pairs = header.split(";").map((pair) => pair.trim());
  const own = pairs.find((pair) => pair.startsWith(`${COOKIE}=`));
  return own?.slice(COOKIE.length + 1) ?? "";
}
