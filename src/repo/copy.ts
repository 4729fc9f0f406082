/**
 * Copies backups into another repository. What is there already is not sent again, so that whatever
 * broke off goes on where it was.
 */
import { chainOf } from "../core/chain.ts";
import { headKeyOf } from "../core/head.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { openContentCopy } from "./copy_content.ts";
import { openObjectCopy } from "./copy_objects.ts";
import {
  type CopiedParent,
  type CopyOptions,
  type CopyRoute,
  type CopyWay,
  placeTaken,
} from "./copy_way.ts";
import { listHeads } from "./heads.ts";
import { changeNote, readNotes } from "./notes.ts";
import type { Repository } from "./repository.ts";

/**
 * Between two places of one repository, which have one id and the same keys, objects go over byte for
 * byte; into another repository all is opened, and sealed anew.
 *
 * @param wanted Backups of `from`, in the order of `Repository.manifests`. Of a backup whose parent is
 *   neither wanted nor there, the copy takes over what the parent holds.
 * @throws IbackupError CORRUPT_DATA for an object that is missing or damaged; REPOSITORY_EXISTS where
 *   the place of a backup is taken; NO_KEY; STORE_FULL and so on.
 */
export async function copyBackups(
  { from, to }: { from: Repository; to: Repository },
  wanted: readonly StoredManifest[],
  { confirm, signer, signal, onCopied }: CopyOptions = {},
): Promise<void> {
  const route = { from, to, confirm, signer, signal };
  const way = from.id === to.id ? await openObjectCopy(route) : openContentCopy(route);
  const all = await from.manifests(() => undefined);
  const there = new Map((await to.manifests()).map((stored) => [stored.key, stored]));
  const heads = new Set(await listHeads(to));
  for (const stored of wanted) {
    signal?.throwIfAborted();
    const { backupId } = stored.manifest;
    const before = there.get(stored.key);
    if (before && !way.isCopy(before, stored)) throw placeTaken(to, backupId);
    const chain = before ? [] : chainOf(all, backupId);
    const done = before
      ? { stored: before, bytesCopied: 0 }
      : await way.copy(chain, parentThere(chain, there, way));
    there.set(stored.key, done.stored);
    // One that was there may be of a copy that broke off before its head.
    if (!heads.has(headKeyOf(done.stored.key))) await way.leaveHead(done.stored);
    await copyNote(route, stored, done.stored);
    onCopied?.({ backupId, isNew: before === undefined, bytesCopied: done.bytesCopied });
  }
}

function parentThere(
  chain: readonly StoredManifest[],
  there: ReadonlyMap<string, StoredManifest>,
  way: CopyWay,
): CopiedParent | undefined {
  for (let nth = chain.length - 2; nth >= 0; nth--) {
    const ancestor = chain[nth];
    const stored = ancestor && there.get(ancestor.key);
    if (stored && way.isCopy(stored, ancestor)) return { nth, stored };
  }
  return undefined;
}

/** What is said of it where it comes from is said of the copy as well. */
async function copyNote(
  { from, to }: CopyRoute,
  stored: StoredManifest,
  copied: StoredManifest,
): Promise<void> {
  const notes = await readNotes(from.store, [stored], () => undefined);
  const remarks = notes.get(stored.key);
  if (remarks === undefined) return;
  await changeNote(to.store, copied, (before) => ({
    tags: [...new Set([...before.tags, ...remarks.tags])].sort(),
    isProtected: before.isProtected || remarks.isProtected,
  }));
}
