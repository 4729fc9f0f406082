/**
 * The files of the page, as the build has made them. In the compiled binary they are embedded; from a
 * checkout they are those that `npm run build` has left in dist/page.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { IbackupError, messageOf } from "../errors.ts";

/** By the path at which the browser asks for it. */
export type PageFiles = Readonly<Record<string, { type: string; content: string }>>;

const FILES = [
  ["/", "index.html", "text/html; charset=utf-8"],
  ["/page.js", "page.js", "text/javascript; charset=utf-8"],
  ["/page.css", "page.css", "text/css; charset=utf-8"],
  ["/icon.svg", "icon.svg", "image/svg+xml"],
] as const;

let embedded: Readonly<Record<string, string>> | undefined;

/** @param files Their text by their names. Called by the entry point of the compiled binary. */
export function useEmbeddedPage(files: Readonly<Record<string, string>>): void {
  embedded = files;
}

/** @throws IbackupError UNSUPPORTED when there is no page. */
export function pageFiles(): PageFiles {
  const read = (name: string): string => embedded?.[name] ?? readBuilt(name);
  return Object.fromEntries(
    FILES.map(([path, name, type]) => [path, { type, content: read(name) }]),
  );
}

function readBuilt(name: string): string {
  try {
    return readFileSync(fileURLToPath(new URL(`../../dist/page/${name}`, import.meta.url)), "utf8");
  } catch (error) {
    throw new IbackupError("UNSUPPORTED", "Cannot serve the page", {
      why: `this ibackup was built without it: ${messageOf(error)}`,
      fix: "run `npm run build`",
      cause: error,
    });
  }
}
