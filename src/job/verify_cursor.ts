/** Remembers which pack a share of a repository was read up to, from one `verify` to the next. */
import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { IbackupError, systemCodeOf } from "../errors.ts";
import type { JobContext } from "./context.ts";

export interface VerifyCursor {
  /** Name of the pack that was read last; empty at first. */
  last: string;
  save(last: string): void;
}

/** Where nothing can be remembered, it begins anywhere: in the long run that comes to all as well. */
export function openVerifyCursor(context: JobContext, repositoryId: string): VerifyCursor {
  let folder: string;
  try {
    folder = context.cacheDir();
  } catch (error) {
    if (!(error instanceof IbackupError)) throw error;
    return { last: randomBytes(32).toString("hex"), save: () => undefined };
  }
  const path = join(folder, `verified-${repositoryId}`);
  return {
    last: readIfThere(path).trim(),
    save: (last) => {
      writeFileSync(`${path}.new`, `${last}\n`, { mode: 0o600 });
      renameSync(`${path}.new`, path);
    },
  };
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (systemCodeOf(error) === "ENOENT") return "";
    throw error;
  }
}
