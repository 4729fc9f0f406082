import { fileURLToPath } from "node:url";
import type { StoreSettings } from "../core/store_settings.ts";
import { IbackupError } from "../errors.ts";
import { DirectoryStore } from "./directory.ts";
import type { Store } from "./store.ts";

const EXAMPLES =
  "write `file:///srv/backup`, or `s3://bucket/prefix?endpoint=https://host:port&region=R&path-style=true`";

/**
 * The store at a URL. Nothing is read or written yet.
 *
 * `file:///absolute/folder`, or `s3://bucket/prefix` with the parameters of `parseS3Url`.
 * Throws USAGE, with an example, for anything else.
 */
export async function openStore(url: string, settings: StoreSettings = {}): Promise<Store> {
  const parsed = URL.canParse(url) ? new URL(url) : undefined;
  if (parsed?.protocol === "file:") return new DirectoryStore(pathOf(parsed), settings);
  if (parsed?.protocol === "s3:") {
    // Loaded when needed: the SDK is by far the largest part of the binary.
    const { openS3Store } = await import("./s3.ts");
    return openS3Store(parsed, settings);
  }
  const scheme = parsed?.protocol ?? "none";
  const fix = url.startsWith("/") ? `write \`file://${url}\`` : EXAMPLES;
  throw usage(`the scheme is ${scheme}, and ibackup knows file: and s3:`, fix);
}

function pathOf(url: URL): string {
  if (url.host !== "") throw usage(`"${url.host}" stands where no host may be`, EXAMPLES);
  if (url.search !== "" || url.hash !== "") {
    throw usage(
      "a file: URL has no parameters",
      "write ? as %3F and # as %23 where they are part of a name",
    );
  }
  if (/%2f|%00/i.test(url.pathname))
    throw usage("the path holds an encoded slash or NUL", EXAMPLES);
  const path = fileURLToPath(url).replace(/\/+$/, "");
  if (path === "") throw usage("the root folder of the machine cannot be a repository", EXAMPLES);
  return path;
}

/** Does not repeat the URL: whoever puts a password into one should not find it in a log. */
function usage(why: string, fix: string): IbackupError {
  return new IbackupError("USAGE", "Cannot use the URL of the repository", { why, fix });
}
