import { type ErrorCode, IbackupError, messageOf, systemCodeOf } from "../errors.ts";

/** An answer that broke off, came too late, or was not what was asked. Worth another attempt. */
export class BadAnswer extends Error {
  override readonly name = "BadAnswer";
}

/** What the SDK throws, as far as ibackup looks at it. */
interface ServerError {
  /** The code in the answer: "NoSuchKey". Ceph and others send no text with it. */
  name: string;
  /** Undefined when no answer came at all. */
  status: number | undefined;
}

const TRANSIENT_NAMES = new Set([
  "BadDigest",
  "ConditionalRequestConflict",
  "IncompleteBody",
  "InternalError",
  "OperationAborted",
  "RequestTimeTooSkewed",
  "RequestTimeout",
  "ServiceUnavailable",
  "SlowDown",
  "Throttling",
  "ThrottlingException",
  "XAmzContentSHA256Mismatch",
]);
/** Longer is not waited for a server, whatever it asks. */
const PAUSE_MS_MAX = 30_000;
const TRANSIENT_STATUSES = new Set([408, 429, 500, 502, 503, 504]);

const FULL_NAMES = new Set([
  "InsufficientStorage",
  "QuotaExceeded",
  "XMinioAdminBucketQuotaExceeded",
  "XMinioStorageFull",
]);

/** Our side of TLS refuses: trying again changes nothing. */
const TLS_CODE = /CERT|SELF_SIGNED|ERR_TLS|ERR_SSL|UNABLE_TO_(VERIFY|GET)/;

const CREDENTIALS_FIX =
  "check the credentials of the AWS SDK's usual chain: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE and ~/.aws/credentials, or the role of this machine";
const ACCOUNT_FIX = "ask the provider of the store: the account is closed, suspended or unpaid";
const BUCKET_FIX =
  "check the bucket, the endpoint and the region in --repo, or make the bucket: ibackup never makes one";
const REGION_FIX = "add the region of the bucket to --repo: `?region=R`";

/** The next step, where the server's code tells more than its status. */
const DENIED_FIX: Readonly<Record<string, string>> = {
  NoSuchBucket: BUCKET_FIX,
  InvalidBucketName: BUCKET_FIX,
  UserSuspended: ACCOUNT_FIX,
  AccountProblem: ACCOUNT_FIX,
  AllAccessDisabled: ACCOUNT_FIX,
  AccessDenied:
    "give these credentials the right to read, write, list and delete objects in that bucket and prefix",
  ExpiredToken: "fetch new credentials: the session token is too old",
  RequestTimeTooSkewed:
    "set the clock of this machine (`timedatectl`): it is too far from the server's",
  PermanentRedirect: REGION_FIX,
  AuthorizationHeaderMalformed: REGION_FIX,
};

/** Whether the same request could succeed a moment later. */
export function isTransient(error: unknown): boolean {
  if (error instanceof BadAnswer) return true;
  if (error instanceof IbackupError || isOurRefusal(error)) return false;
  const { name, status } = serverErrorOf(error);
  if (status === undefined) return !isTlsRefusal(error);
  return TRANSIENT_NAMES.has(name) || TRANSIENT_STATUSES.has(status);
}

/** What a server that is overloaded asks for: at most half a minute, and no time at all if it says none. */
export function askedPauseMs(error: unknown): number | undefined {
  const { name, status } = serverErrorOf(error);
  if (status !== 503 && status !== 429 && name !== "SlowDown") return undefined;
  const headers = (error as { $response?: { headers?: Record<string, string> } }).$response
    ?.headers;
  const seconds = Number(headers?.["retry-after"] ?? 0);
  return Number.isFinite(seconds) ? Math.min(PAUSE_MS_MAX, seconds * 1000) : 0;
}

/** Whether the server may have done what was asked although the answer says nothing of it. */
export function isUncertain(error: unknown): boolean {
  const { status } = serverErrorOf(error);
  return status === undefined || status >= 500;
}

/** True when the server gave this code or status. */
export function isAnswer(error: unknown, nameOrStatus: string | number): boolean {
  const { name, status } = serverErrorOf(error);
  return status !== undefined && (name === nameOrStatus || status === nameOrStatus);
}

/** The server does not know the request, or does not allow it: no use in trying again. */
export function isRefusal(error: unknown): boolean {
  return [400, 403, 405, 501].some((status) => isAnswer(error, status));
}

/**
 * A failure of the server or the network as an `IbackupError`. The cause keeps code and text
 * only: the SDK's errors carry the whole request, signature and session token included.
 */
export function s3Error(what: string, error: unknown): unknown {
  if (error instanceof IbackupError) return error;
  const { name, status } = serverErrorOf(error);
  const cause = new Error(`${name}: ${messageOf(error)}`);
  if (isRegionMissing(error)) {
    return new IbackupError("USAGE", what, { why: "no region is set", fix: REGION_FIX, cause });
  }
  if (isOurRefusal(error)) {
    const why = "no credentials were found";
    return new IbackupError("STORE_DENIED", what, { why, fix: CREDENTIALS_FIX, cause });
  }
  if (status === undefined) return unreachable(what, error, cause);
  const { code, fix } = meaningOf(name, status);
  return new IbackupError(code, what, { why: answerOf(error, { name, status }), fix, cause });
}

function meaningOf(name: string, status: number): { code: ErrorCode; fix: string } {
  if (FULL_NAMES.has(name) || status === 507) {
    const fix = "raise the quota, or run `ibackup prune` and then `ibackup gc`";
    return { code: "STORE_FULL", fix };
  }
  const known = DENIED_FIX[name];
  if (known !== undefined) return { code: "STORE_DENIED", fix: known };
  if (status === 301 || status === 307) return { code: "STORE_DENIED", fix: REGION_FIX };
  if (status === 401 || status === 403) return { code: "STORE_DENIED", fix: CREDENTIALS_FIX };
  if (TRANSIENT_NAMES.has(name) || TRANSIENT_STATUSES.has(status)) {
    return {
      code: "STORE_UNREACHABLE",
      fix: "wait until the server is well, then run the command again",
    };
  }
  return { code: "IO", fix: "run `ibackup doctor` to see what this server can do" };
}

function answerOf(error: unknown, { name, status }: ServerError): string {
  const text = messageOf(error);
  const detail = text === "" || text === "UnknownError" || text === name ? "" : `: ${text}`;
  return `the server answers ${status} ${name}${detail}`;
}

function unreachable(what: string, error: unknown, cause: Error): IbackupError {
  const fix = isTlsRefusal(error)
    ? "check the certificate of the endpoint; name the file of a private authority in NODE_EXTRA_CA_CERTS"
    : "check the endpoint in --repo and the network, then run the command again";
  return new IbackupError("STORE_UNREACHABLE", what, { why: messageOf(error), fix, cause });
}

/** The SDK refused before it sent anything. */
function isOurRefusal(error: unknown): boolean {
  const name = error instanceof Error ? error.name : "";
  return /^(Credentials|Token)?ProviderError$/.test(name) || isRegionMissing(error);
}

function isRegionMissing(error: unknown): boolean {
  return messageOf(error) === "Region is missing";
}

function isTlsRefusal(error: unknown): boolean {
  return TLS_CODE.test(systemCodeOf(error) ?? "");
}

function serverErrorOf(error: unknown): ServerError {
  const thrown = error as {
    name?: unknown;
    $metadata?: { httpStatusCode?: unknown };
    $response?: { statusCode?: unknown };
  } | null;
  const status = thrown?.$metadata?.httpStatusCode ?? thrown?.$response?.statusCode;
  return {
    name: typeof thrown?.name === "string" ? thrown.name : "Error",
    status: typeof status === "number" ? status : undefined,
  };
}
