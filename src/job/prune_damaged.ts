/** Removes documents of backups that cannot be read, and that are in the way of gc and prune for ever. */
import { parentKeyOf } from "../core/chain.ts";
import { headKeyOf } from "../core/head.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import { parseSidecarKey } from "../core/sidecar_key.ts";
import { checkHeads, readBackups } from "../repo/heads.ts";
import type { DamagedManifest } from "../repo/manifest_list.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import { Kinship } from "./kinship.ts";
import { whileAlone } from "./maintenance.ts";
import { forgetSeen } from "./newest_seen.ts";
import { withLeases } from "./prune_newest.ts";
import { checkDocuments } from "./verify_documents.ts";

/** A manifest, a head, a map or a note. */
export interface DamagedDocument {
  /** Its key. */
  object: string;
  reason: string;
  /** Those that can be read and cannot be restored without it. */
  backups: string[];
}

export interface PruneDamagedResult {
  dryRun: boolean;
  damaged: DamagedDocument[];
  /** Keys of those that are gone now. */
  removed: string[];
  /** Those that the store does not let go yet; RFC 3339, or null where it does not say. */
  locked: { object: string; until: string | null }[];
}

/**
 * What a removed manifest named is lost: gc removes what no other backup needs. Where a map or a note
 * goes, the version before counts again.
 *
 * @throws IbackupError LOCKED while another one removes or rearranges, or one of the disks is being
 *   backed up; REPOSITORY_FORMAT for a document of a newer version, which is not damaged.
 */
export async function pruneDamaged(
  context: JobContext,
  { dryRun }: { dryRun: boolean },
): Promise<PruneDamagedResult> {
  const repository = await context.openRepository();
  const { store } = repository;
  if (dryRun) return { dryRun, damaged: await findDamaged(repository), removed: [], locked: [] };
  return await whileAlone(context, { store, what: "prune" }, async () => {
    const before = await findDamaged(repository);
    const tags = new Set(before.map(({ object }) => diskTagOf(object)));
    const disks = [...tags].map((diskTag) => ({ diskTag, disk: `of "manifests/${diskTag}/"` }));
    return await withLeases(context, { store, disks }, async () => {
      // Once more: what could not be read may have been the store's mood.
      const damaged = await findDamaged(repository);
      const result = await removeAll(context, repository, damaged);
      return { dryRun, damaged, ...result };
    });
  });
}

async function findDamaged(repository: Repository): Promise<DamagedDocument[]> {
  const { manifests, damaged } = await readBackups(repository);
  const found: DamagedDocument[] = damaged.map(({ key, map, error }) => {
    if (error.code === "REPOSITORY_FORMAT") throw error;
    const backups = map === undefined ? buildingOn(manifests, key) : [];
    return { object: map ?? key, reason: error.why, backups };
  });
  for (const { key, error } of await checkHeads(repository, manifests)) {
    // A manifest that its head does not name can be read, and removed by its name.
    if (parseManifestKey(key) === undefined) found.push(misfit(key, error.why));
  }
  for await (const { object, reason } of checkDocuments(repository, manifests)) {
    const isTold = found.some((one) => one.object === object);
    if (!isTold && parseSidecarKey(object)) found.push(misfit(object, reason));
  }
  return found;
}

function misfit(object: string, reason: string): DamagedDocument {
  return { object, reason, backups: [] };
}

function buildingOn(manifests: readonly StoredManifest[], key: DamagedManifest["key"]): string[] {
  const children = manifests.filter((stored) => parentKeyOf(stored) === key);
  const ids = children.map(({ manifest }) => manifest.backupId);
  return new Kinship(manifests).descendantsOf(ids);
}

async function removeAll(
  context: JobContext,
  { store, id }: Repository,
  damaged: readonly DamagedDocument[],
): Promise<Pick<PruneDamagedResult, "removed" | "locked">> {
  const locked = new Map<string, string | null>();
  const { signal } = context;
  const erase = async (keys: readonly string[]) =>
    await store.erase(keys, {
      signal,
      onLocked: ({ key, until }) => locked.set(key, until?.toISOString() ?? null),
    });
  const objects = damaged.map(({ object }) => object);
  const isManifest = (object: string) => parseManifestKey(object) !== undefined;
  const manifests = objects.filter(isManifest);
  // A head without its manifest would say that somebody else has removed the backup.
  await erase([...manifests.map(headKeyOf), ...objects.filter((object) => !isManifest(object))]);
  const headless = manifests.filter((key) => !locked.has(headKeyOf(key)));
  await erase(headless);
  forgetSeen(context, id, ({ key }) => headless.includes(key) && !locked.has(key));
  return {
    removed: objects.filter((key) => !locked.has(key) && !locked.has(headOf(key))),
    locked: [...locked].map(([object, until]) => ({ object, until })),
  };
}

function headOf(object: string): string {
  return parseManifestKey(object) === undefined ? "" : headKeyOf(object);
}

function diskTagOf(object: string): string {
  return object.split("/")[1] ?? "";
}
