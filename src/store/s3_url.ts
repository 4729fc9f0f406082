import { IbackupError } from "../errors.ts";

/** What an `s3:` URL says. Holds no credential: those come from the SDK's usual chain. */
export interface S3Location {
  bucket: string;
  /** Empty, or ends in a slash. */
  prefix: string;
  /** `http:` or `https:`; without it, AWS. */
  endpoint: string | undefined;
  region: string | undefined;
  pathStyle: boolean;
  /** Longest wait for an answer. The time to move the bytes at a slow pace is added to it. */
  timeoutMs: number;
  /** Attempts of one call, the first included. */
  attempts: number;
}

const PARAMETERS = ["endpoint", "region", "path-style", "timeout", "attempts"];
const TIMEOUT_MS = 30_000;
/** With the pauses of `RETRY_PAUSES` this outlasts a gateway that restarts, mostly by 10 seconds. */
const ATTEMPTS = 9;
const EXAMPLE =
  "write `s3://bucket/prefix?endpoint=https://host:port&region=R&path-style=true`, in which all parameters may be left out";

const BUCKET = /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/;
const PREFIX_PART = /^[A-Za-z0-9_!*'()=-][A-Za-z0-9._!*'()=-]*$/;

/**
 * Reads `s3://bucket/prefix?...` with these parameters:
 * - `endpoint`: URL of the server; else AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL; else AWS
 * - `region`: else AWS_REGION or the AWS profile; servers other than AWS mostly take any
 * - `path-style`: `true` or `false`: bucket in the path, or in the host name. Default: true where
 *   there is an `endpoint`, and it is not one of AWS
 * - `timeout`: such as `30s` or `500ms`: longest wait for an answer (30s)
 * - `attempts`: of each call (9)
 *
 * Throws USAGE, which never repeats a value that could be a credential.
 */
export function parseS3Url(url: URL, environment: NodeJS.ProcessEnv = {}): S3Location {
  if (url.username !== "" || url.password !== "") throw credentialsInUrl();
  if (!BUCKET.test(url.hostname) || url.port !== "") throw usage("the bucket has no valid name");
  if (url.hash !== "") throw usage("it has a part after #");
  checkParameterNames(url.searchParams);
  const parameter = (name: string) => url.searchParams.get(name) ?? undefined;
  const fromEnvironment = environment["AWS_ENDPOINT_URL_S3"] ?? environment["AWS_ENDPOINT_URL"];
  const endpoint = parseEndpoint(parameter("endpoint") ?? fromEnvironment);
  return {
    bucket: url.hostname,
    prefix: parsePrefix(url.pathname),
    endpoint,
    region: parseRegion(parameter("region")),
    pathStyle: parseBoolean(parameter("path-style")) ?? !isAws(endpoint),
    timeoutMs: parseDuration(parameter("timeout")) ?? TIMEOUT_MS,
    attempts: parseAttempts(parameter("attempts")) ?? ATTEMPTS,
  };
}

/** True without an endpoint, and for those of AWS. */
export function isAws(endpoint: string | undefined): boolean {
  return endpoint === undefined || /\.amazonaws\.com(\.cn)?$/.test(new URL(endpoint).hostname);
}

function checkParameterNames(parameters: URLSearchParams): void {
  for (const name of parameters.keys()) {
    if (!PARAMETERS.includes(name)) throw usage(`"${name}" is not one of ${PARAMETERS.join(", ")}`);
    if (parameters.getAll(name).length > 1) throw usage(`it has "${name}" more than once`);
  }
}

function parsePrefix(pathname: string): string {
  const parts = pathname.split("/").filter((part) => part !== "");
  for (const part of parts) {
    if (!PREFIX_PART.test(part)) {
      throw usage(
        "the prefix may hold letters, digits and -_.!*'()=, and no part begins with a dot",
      );
    }
  }
  return parts.map((part) => `${part}/`).join("");
}

function parseEndpoint(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (!URL.canParse(text)) throw usage("the endpoint is no URL");
  const endpoint = new URL(text);
  if (endpoint.username !== "" || endpoint.password !== "") throw credentialsInUrl();
  if (endpoint.protocol !== "http:" && endpoint.protocol !== "https:") {
    throw usage("the endpoint begins with neither http:// nor https://");
  }
  if (endpoint.search !== "" || endpoint.hash !== "") throw usage("the endpoint has parameters");
  return endpoint.href.replace(/\/$/, "");
}

function parseRegion(text: string | undefined): string | undefined {
  if (text !== undefined && !/^[A-Za-z0-9-]{1,64}$/.test(text))
    throw usage("the region is no name");
  return text;
}

function parseBoolean(text: string | undefined): boolean | undefined {
  if (text === undefined) return undefined;
  if (text !== "true" && text !== "false") throw usage("path-style is neither true nor false");
  return text === "true";
}

function parseDuration(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits, unit] = /^(\d{1,6})(ms|s|m)$/.exec(text) ?? [];
  const factor = unit === "ms" ? 1 : unit === "s" ? 1000 : 60_000;
  const milliseconds = Number(digits) * factor;
  if (!(milliseconds > 0)) throw usage("the timeout is not like 30s, 500ms or 2m");
  return milliseconds;
}

function parseAttempts(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d?$/.test(text)) throw usage("attempts is not a number from 1 to 99");
  return Number(text);
}

function credentialsInUrl(): IbackupError {
  return new IbackupError("USAGE", "Refuse the URL of the repository", {
    why: "it holds a user name or a password, and others can see the arguments of a process",
    fix: "take them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials",
  });
}

function usage(why: string): IbackupError {
  return new IbackupError("USAGE", "Cannot use the s3: URL of the repository", {
    why,
    fix: EXAMPLE,
  });
}
