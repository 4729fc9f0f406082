/** Frees the space of what no backup reaches any more. */
import { collectGarbage, type GcResult } from "../repo/garbage.ts";
import type { Repository } from "../repo/repository.ts";
import { rewriteBackup } from "../repo/rewrite.ts";
import type { JobContext } from "./context.ts";
import { type Maintenance, whileAlone } from "./maintenance.ts";

export interface GcJobResult extends GcResult {
  /** Packs of which little was left, and which another gc can remove. */
  rewrittenPacks: number;
  /** What was stored anew of them. */
  rewrittenBytes: number;
}

/** @throws IbackupError LOCKED while another one removes or rearranges; CORRUPT_DATA. */
export async function gc(
  context: JobContext,
  options: { graceMs: number; dryRun: boolean },
): Promise<GcJobResult> {
  const { progress, signal } = context;
  const repository = await context.openRepository();
  return await whileAlone(
    context,
    { store: repository.store, what: "gc" },
    async ({ holder: own, confirm, signer }) => {
      progress.begin("looking for what nothing needs", 0);
      try {
        const result = await collectGarbage(repository, { ...options, own, signal });
        const given = { ...options, confirm, signer };
        return { ...result, ...(await rewriteAll(context, repository, given)) };
      } finally {
        progress.end();
      }
    },
  );
}

async function rewriteAll(
  { signal }: JobContext,
  repository: Repository,
  { dryRun, confirm, signer }: { dryRun: boolean } & Pick<Maintenance, "confirm" | "signer">,
): Promise<Pick<GcJobResult, "rewrittenPacks" | "rewrittenBytes">> {
  const total = { rewrittenPacks: 0, rewrittenBytes: 0 };
  // Which blocks a pack still serves is sealed.
  if (dryRun || !repository.canOpen) return total;
  for (const stored of await repository.manifests(() => undefined)) {
    const done = await rewriteBackup(repository, stored, { confirm, signer, signal });
    total.rewrittenPacks += done?.packs ?? 0;
    total.rewrittenBytes += done?.bytesStored ?? 0;
  }
  return total;
}
