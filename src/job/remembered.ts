import type { StoredManifest } from "../core/manifest.ts";
import { type FoundBackups, readBackups } from "../repo/heads.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import { findMissing } from "./newest_seen.ts";

/** Like `readBackups`, and held against what this machine remembers. */
export async function readRemembered(
  context: JobContext,
  repository: Repository,
  known: readonly StoredManifest[] = [],
): Promise<FoundBackups> {
  const { manifests, damaged } = await readBackups(repository, known);
  const missing = findMissing(context, repository.id, { manifests, damaged });
  const replaced = new Set(missing.map(({ key }) => key));
  return {
    manifests: manifests.filter(({ key }) => !replaced.has(key)),
    damaged: [...damaged, ...missing],
  };
}
