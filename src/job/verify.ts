/** Checks that the backups of a repository can be restored. */
import { misfitOf, parentKeyOf, selectBackup } from "../core/chain.ts";
import type { BlockExtent } from "../core/extent.ts";
import { indexKey, type PackRef } from "../core/index_codec.ts";
import type { Manifest, ManifestIndex, StoredManifest } from "../core/manifest.ts";
import { mapInOrder } from "../core/ordered.ts";
import { packKey } from "../core/pack.ts";
import { takeTurns } from "../core/rotation.ts";
import { describeOddities } from "../core/writers.ts";
import { IbackupError } from "../errors.ts";
import { planReads } from "../repo/block_reader.ts";
import type { Damage } from "../repo/damage.ts";
import { checkHeads, type FoundBackups, readBackups } from "../repo/heads.ts";
import type { DamagedManifest } from "../repo/manifest_list.ts";
import type { Repository } from "../repo/repository.ts";
import { Kinship } from "./kinship.ts";
import type { Progress } from "./progress.ts";
import { checkDocuments, findLosses } from "./verify_documents.ts";
import { checkPack, type PackUse } from "./verify_pack.ts";

const INDEXES_IN_FLIGHT = 8;
/** Each takes 16 MiB, and as much again for the frame being checked. */
const PACKS_IN_FLIGHT = 2;

export interface VerifyOptions {
  repository: Repository;
  /** Ids, or their unique beginnings; with each its whole chain. Default: all backups. */
  backups?: readonly string[] | undefined;
  /**
   * None: manifests, index objects, and that every pack is there. "all": every byte as well. Else the
   * packs whose turn it is, as many as make up a share of all bytes.
   */
  data: "none" | "all" | DataShare;
  /** What else is wrong with what was found: what this machine remembers otherwise. */
  missingOf?: ((found: FoundBackups) => DamagedManifest[]) | undefined;
  /** The key of this machine, which may rearrange backups of others. */
  ownWriter?: string | undefined;
  progress: Progress;
  signal?: AbortSignal | undefined;
}

export interface DataShare {
  /** Above 0, at most 1. */
  share: number;
  /** Name of the pack that was read last; empty at first. */
  last: string;
}

/** One thing that is wrong. */
export interface Problem {
  /** Key of the object. */
  object: string;
  reason: string;
  /** Backups that it may take something away from: those that name it, and all that build on them. */
  backups: string[];
  /** Blocks of the disk; ascending. */
  extents: BlockExtent[];
}

export interface VerifyResult {
  /** Backups, packs, and bytes of packs that were looked at. */
  backups: number;
  packs: number;
  bytesRead: number;
  /** Name of the pack that was read last, for the next share. */
  last: string;
  problems: Problem[];
  /** What is odd, and may be right. */
  warnings: string[];
}

interface Verification extends VerifyOptions {
  kinship: Kinship;
  problems: Problem[];
}

/**
 * @returns Every problem found; none means that all can be restored (with `data`: is proven to be).
 * @throws IbackupError BACKUP_UNKNOWN, REPOSITORY_FORMAT, or what the store throws.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  options.progress.begin("checking manifests and indexes", 0);
  try {
    const problems: Problem[] = [];
    const { all, damagedMaps } = await readManifests(options, problems);
    const kinship = new Kinship(all);
    const scope = inScope(all, kinship, options.backups);
    const verification = { ...options, kinship, problems };
    if (options.backups) forgetOthers(problems, scope);
    const intact = scope.filter((stored) => checkLink(verification, stored));
    const packs = await checkIndexes(verification, scope);
    for (const stored of intact) await checkCoverage(verification, stored);
    for await (const loss of findLosses(options.repository.store, scope)) {
      problems.push({ ...loss, extents: [] });
    }
    if (options.backups === undefined) await checkOthers(verification, all, damagedMaps);
    const turns = turnsOf(packs, options.data);
    const bytesRead = await checkPacks(verification, packs, turns);
    const last = turns.at(-1)?.name ?? "";
    const warnings = describeOddities(scope, { all, own: options.ownWriter });
    return { backups: scope.length, packs: packs.size, bytesRead, last, problems, warnings };
  } finally {
    options.progress.end();
  }
}

async function readManifests(
  { repository, missingOf }: VerifyOptions,
  problems: Problem[],
): Promise<{ all: StoredManifest[]; damagedMaps: ReadonlySet<string> }> {
  const { manifests, damaged } = await readBackups(repository);
  damaged.push(...(missingOf?.({ manifests, damaged }) ?? []));
  for (const { key, map, error } of [...damaged, ...(await checkHeads(repository, manifests))]) {
    if (error.code === "REPOSITORY_FORMAT") throw error;
    // Which backup it was is known when another one continues it: `checkLink` adds that.
    const reason = map === undefined ? error.why : `its newest map "${map}": ${error.why}`;
    problems.push({ object: key, reason, backups: [], extents: [] });
  }
  return { all: manifests, damagedMaps: new Set(damaged.flatMap(({ map }) => map ?? [])) };
}

async function checkOthers(
  { repository, problems }: Verification,
  all: readonly StoredManifest[],
  told: ReadonlySet<string>,
): Promise<void> {
  for await (const { object, reason } of checkDocuments(repository, all)) {
    if (!told.has(object)) problems.push({ object, reason, backups: [], extents: [] });
  }
}

function inScope(
  all: readonly StoredManifest[],
  kinship: Kinship,
  wanted: readonly string[] | undefined,
): StoredManifest[] {
  if (wanted === undefined) return [...all];
  const ids = new Set(
    wanted.flatMap((id) => kinship.ancestorsOf(selectBackup(all, { id }).manifest.backupId)),
  );
  return all.filter(({ manifest }) => ids.has(manifest.backupId));
}

/** Whether the parent is the right one; a backup without one cannot be restored. */
function checkLink({ kinship, problems }: Verification, child: StoredManifest): boolean {
  const { backupId, parentId, blockCount } = child.manifest;
  const object = parentKeyOf(child);
  if (parentId === null || object === undefined) return true;
  const parent = kinship.get(parentId);
  const extents = [{ firstBlock: 0, blockCount }];
  const backups = kinship.descendantsOf([backupId]);
  const reported = problems.find((problem) => problem.object === object);
  if (!parent && reported) {
    const all = [parentId, ...backups];
    reported.backups.push(...all.filter((id) => !reported.backups.includes(id)));
    return false;
  }
  const reason = parent ? misfitOf(child, parent) : `it is missing, and ${backupId} continues it`;
  if (reason === undefined) return true;
  problems.push({ object: parent ? child.key : object, reason, backups, extents });
  return false;
}

/** Reads every index object once. @returns The packs that they name, and who uses them. */
async function checkIndexes(
  verification: Verification,
  scope: readonly StoredManifest[],
): Promise<Map<string, PackUse>> {
  const { repository, problems, kinship, signal } = verification;
  const packs = new Map<string, PackUse>();
  const refs = scope.flatMap(({ manifest }) =>
    manifest.indexes.map((index) => ({ manifest, index })),
  );
  const read = async (ref: (typeof refs)[number]) => {
    signal?.throwIfAborted();
    return { ...ref, found: await readIndex(repository, ref.manifest, ref.index) };
  };
  for await (const { manifest, index, found } of mapInOrder(refs, INDEXES_IN_FLIGHT, read)) {
    if (typeof found === "string") {
      const { firstBlock, blockCount } = index;
      const backups = kinship.descendantsOf([manifest.backupId]);
      const extents = [{ firstBlock, blockCount }];
      problems.push({ object: indexKey(index.name), reason: found, backups, extents });
      continue;
    }
    for (const [number, { name, sizeBytes }] of found.entries()) {
      const use = packs.get(name) ?? { name, sizeBytes, users: [] };
      use.users.push({ manifest, index, number });
      packs.set(name, use);
    }
  }
  return packs;
}

async function readIndex(
  repository: Repository,
  manifest: Manifest,
  index: ManifestIndex,
): Promise<readonly PackRef[] | string> {
  const { indexes, canOpen } = repository;
  try {
    return await (canOpen
      ? indexes.read(manifest, index).then(({ packs }) => packs)
      : indexes.packs(manifest, index));
  } catch (error) {
    if (error instanceof IbackupError && error.code === "CORRUPT_DATA") return error.why;
    throw error;
  }
}

/** Every block of the disk is in some backup of the chain. */
async function checkCoverage(
  { repository, kinship, problems, signal }: Verification,
  stored: StoredManifest,
): Promise<void> {
  const { backupId, parentId, blockCount } = stored.manifest;
  const { key } = stored;
  // Which blocks records speak of, is sealed.
  if (!repository.canOpen) return;
  // A child covers what its parent covers, unless the disk has grown.
  const parent = kinship.get(parentId ?? "");
  if (parent && parent.manifest.blockCount >= blockCount) return;
  const chain = kinship.ancestorsOf(backupId).flatMap((id) => kinship.get(id) ?? []);
  const own: Damage[] = [];
  await planReads(repository, chain, {
    signal,
    // Index objects that cannot be read are problems of their own, reported already.
    onDamage: (damage) => own.push(...(damage.object === key ? [damage] : [])),
  });
  const [first] = own;
  if (!first) return;
  const extents = own.flatMap((damage) => damage.extents);
  problems.push({ ...first, extents, backups: kinship.descendantsOf([backupId]) });
}

/** The packs that are to be read. */
function turnsOf(packs: ReadonlyMap<string, PackUse>, data: VerifyOptions["data"]): PackUse[] {
  if (data === "none") return [];
  const all = [...packs.values()];
  return data === "all" ? all : takeTurns(all, data);
}

/** @returns Bytes read. */
async function checkPacks(
  verification: Verification,
  packs: ReadonlyMap<string, PackUse>,
  turns: readonly PackUse[],
): Promise<number> {
  const { repository, kinship, problems, progress, signal } = verification;
  const sizes = new Map<string, number>();
  for await (const { key, sizeBytes } of repository.store.list("packs/")) sizes.set(key, sizeBytes);
  let bytesRead = 0;
  const total = turns.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (turns.length > 0) progress.begin("reading packs", total);
  const toRead = new Set(turns);
  const check = async (use: PackUse) => {
    signal?.throwIfAborted();
    const presentBytes = sizes.get(packKey(use.name));
    const data = toRead.has(use);
    return { use, data, damage: await checkPack(repository, use, { presentBytes, data }) };
  };
  for await (const { use, data, damage } of mapInOrder(packs.values(), PACKS_IN_FLIGHT, check)) {
    if (data) progress.advance(use.sizeBytes);
    if (data) bytesRead += Math.min(use.sizeBytes, sizes.get(packKey(use.name)) ?? 0);
    const users = use.users.map(({ manifest }) => manifest.backupId);
    if (damage) problems.push({ ...damage, backups: kinship.descendantsOf(users) });
  }
  return bytesRead;
}

/** Drops problems of manifests that none of the backups in scope builds on. */
function forgetOthers(problems: Problem[], scope: readonly StoredManifest[]): void {
  const parents = new Set(scope.map(parentKeyOf));
  const kept = problems.filter(({ object }) => parents.has(object));
  problems.splice(0, problems.length, ...kept);
}
