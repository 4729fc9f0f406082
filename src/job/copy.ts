/** Copies backups to another store. */

import type { BackupScope } from "../core/chain.ts";
import { selectBackup } from "../core/chain.ts";
import { IbackupError } from "../errors.ts";
import { type CopiedBackup, copyBackups } from "../repo/copy.ts";
import { cloneRepository, openRepository } from "../repo/repository.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import type { JobContext } from "./context.ts";
import { whileAlone } from "./maintenance.ts";
import { findKeys } from "./repository_keys.ts";

export interface CopyRequest {
  /** URL of the store that they go to. */
  to: string;
  /** Ids or their unique beginnings; none: all in scope. */
  backups: readonly string[];
  scope: BackupScope;
}

export interface CopyResult {
  to: string;
  copied: CopiedBackup[];
}

/**
 * Makes the other repository when there is none: the same one, with the same id and keys.
 *
 * @throws IbackupError LOCKED while somebody removes or rearranges there; REPOSITORY_EXISTS when
 *   another repository is there; BACKUP_UNKNOWN, CORRUPT_DATA.
 */
export async function copy(context: JobContext, request: CopyRequest): Promise<CopyResult> {
  const store = await openStore(request.to);
  try {
    return await copyInto(context, store, request);
  } finally {
    await store.close();
  }
}

async function copyInto(
  context: JobContext,
  store: Store,
  { backups, scope }: CopyRequest,
): Promise<CopyResult> {
  const from = await context.openRepository();
  const all = await from.manifests(({ error }) => {
    context.progress.message(`warning: ${error.message}: ${error.why}`);
  });
  const ids = new Set(backups.map((id) => selectBackup(all, { id }, scope).manifest.backupId));
  const wanted = all.filter(
    ({ manifest, map }) =>
      map?.removing !== true &&
      (ids.size > 0
        ? ids.has(manifest.backupId)
        : (scope.vmId ?? manifest.vmId) === manifest.vmId &&
          (scope.diskName ?? manifest.disk.name) === manifest.disk.name),
  );
  await cloneRepository(from, store);
  const to = await openRepository(store, findKeys(context));
  if (to.id !== from.id) throw anotherRepository(store.url, to.id);
  const { progress, signal } = context;
  return await whileAlone(context, { store, what: "copy" }, async ({ confirm }) => {
    const copied: CopiedBackup[] = [];
    progress.begin("copying backups", wanted.length);
    try {
      const onCopied = (one: CopiedBackup): void => {
        copied.push(one);
        progress.advance(1);
      };
      await copyBackups({ from, to }, wanted, { confirm, signal, onCopied });
    } finally {
      progress.end();
    }
    return { to: store.url, copied };
  });
}

function anotherRepository(url: string, id: string): IbackupError {
  return new IbackupError("REPOSITORY_EXISTS", `Cannot copy backups to ${url}`, {
    why: `there is another repository, ${id}`,
    fix: "copy to an empty place, or to where this repository was copied before",
  });
}
