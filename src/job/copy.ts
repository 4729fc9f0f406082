/** Copies backups to another store. */
import type { BackupScope } from "../core/chain.ts";
import { selectBackup } from "../core/chain.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import type { StoreSettings } from "../core/store_settings.ts";
import { copyBackups } from "../repo/copy.ts";
import type { CopiedBackup } from "../repo/copy_way.ts";
import { cloneRepository, openRepository, type Repository } from "../repo/repository.ts";
import { openStore } from "../store/open.ts";
import type { Store } from "../store/store.ts";
import { askForSecret } from "./ask_secret.ts";
import type { JobContext } from "./context.ts";
import { whileAlone } from "./maintenance.ts";
import { keepLocked } from "./object_lock.ts";
import { findKeys } from "./repository_keys.ts";

export interface CopyRequest {
  /** URL of the store that they go to. */
  to: string;
  /** What is asked of that store. */
  rules: StoreSettings;
  /** Ids or their unique beginnings; none: all in scope. */
  backups: readonly string[];
  scope: BackupScope;
}

export interface CopyResult {
  to: string;
  copied: CopiedBackup[];
}

/**
 * Makes the other repository when there is none: the same one, with the same id and keys. Into
 * another repository that is there already, all is stored anew.
 *
 * @throws IbackupError LOCKED while somebody removes or rearranges there; REPOSITORY_EXISTS where the
 *   place of a backup is taken; NO_KEY, BACKUP_UNKNOWN, CORRUPT_DATA.
 */
export async function copy(context: JobContext, request: CopyRequest): Promise<CopyResult> {
  const store = await openStore(request.to, request.rules);
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
  const to = await openRepository(store, (id) => {
    // What the user has pinned is the key of the one that backups come from.
    const pinnedRecipient = id === from.id ? context.pinnedRecipient : undefined;
    return findKeys({ ...context, openStore: async () => store, pinnedRecipient })(id);
  });
  const { progress, signal } = context;
  if (to.id !== from.id) {
    await askForSecret(context);
    progress.message(describeOther(to));
  }
  return await whileAlone(context, { store, what: "copy" }, async ({ confirm, signer }) => {
    const copied: CopiedBackup[] = [];
    progress.begin("copying backups", wanted.length);
    try {
      const onCopied = (one: CopiedBackup): void => {
        copied.push(one);
        progress.advance(1);
      };
      await copyBackups({ from, to }, wanted, { confirm, signer, signal, onCopied });
      await lockChains(context, to, copied);
    } finally {
      progress.end();
    }
    return { to: store.url, copied };
  });
}

/** Of each disk that has a new copy, as a flush does. */
async function lockChains(
  context: JobContext,
  to: Repository,
  copied: readonly CopiedBackup[],
): Promise<void> {
  if (to.store.lock === undefined) return;
  const ids = new Set(copied.filter(({ isNew }) => isNew).map(({ backupId }) => backupId));
  const fresh = (await to.manifests()).filter(({ manifest }) => ids.has(manifest.backupId));
  const byDisk = Map.groupBy(fresh, ({ key }) => parseManifestKey(key)?.diskTag);
  for (const ofDisk of byDisk.values()) {
    const newest = ofDisk.toSorted((a, b) => a.manifest.sequence - b.manifest.sequence).at(-1);
    if (newest) await keepLocked(context, to, newest);
  }
}

function describeOther({ store, isSealed }: Repository): string {
  const how = isSealed ? "sealed to its keys" : "in clear";
  return `${store.url} is a repository of its own: everything is opened, and stored there ${how}`;
}
