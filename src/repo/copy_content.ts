/**
 * Copies backups into another repository, with an id and keys of its own: each frame is opened and
 * held against its digest, and stored anew, sealed to whoever can read there.
 */
import { foldParents, nextMap } from "../core/backup_map.ts";
import type { Manifest, ManifestDraft, StoredManifest } from "../core/manifest.ts";
import { keyOfManifest } from "../core/manifest.ts";
import { sidecarPrefix } from "../core/sidecar_key.ts";
import { assert, IbackupError } from "../errors.ts";
import { openBackupWriter, storePieces, type WrittenBackup } from "./backup_writer.ts";
import { readBlocks } from "./block_reader.ts";
import {
  type CopiedParent,
  type CopyOutcome,
  type CopyRoute,
  type CopyWay,
  placeTaken,
} from "./copy_way.ts";
import { putHead } from "./heads.ts";
import { sealManifest, signManifest } from "./manifest_seal.ts";
import { putMap } from "./maps.ts";
import type { Sealer } from "./sealer.ts";
import { sha256Hex } from "./sha256.ts";
import { newestVersions } from "./sidecars.ts";

export function openContentCopy(route: CopyRoute): CopyWay {
  return {
    isCopy: (there, stored) => there.manifest.backupId === stored.manifest.backupId,
    copy: (chain, parent) => copyOne(route, chain, parent),
    leaveHead: (copied) => putHead(route.to, copied, route.signer?.()),
  };
}

async function copyOne(
  route: CopyRoute,
  chain: readonly StoredManifest[],
  parent: CopiedParent | undefined,
): Promise<CopyOutcome> {
  const { from, to } = route;
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const details = await from.detailsOf(last);
  const sealer = await to.sealer();
  try {
    const folded = foldedBackup(chain, parent);
    const written = await storeAnew(route, folded, sealer);
    const draft = { ...folded.manifest, ...written, ...linkTo(folded.manifest, parent), details };
    const manifest = signManifest(await sealManifest(draft, sealer), route.signer?.());
    await route.confirm?.();
    return { stored: await commit(route, manifest), bytesCopied: written.bytesStored };
  } finally {
    sealer.close();
  }
}

/** The backup with what those hold that stay behind, the nearest of which is its parent. */
function foldedBackup(
  chain: readonly StoredManifest[],
  parent: CopiedParent | undefined,
): StoredManifest {
  const last = chain.at(-1);
  assert(last !== undefined, "a chain has a backup");
  const [oldest, ...others] = chain.slice((parent?.nth ?? -1) + 1, -1);
  if (oldest === undefined) return last;
  const { indexes } = foldParents(last, [oldest, ...others]);
  return { ...last, manifest: { ...last.manifest, indexes } };
}

function linkTo(
  { gapCheck }: Manifest,
  parent: CopiedParent | undefined,
): Pick<ManifestDraft, "type" | "parentId" | "parentSha256" | "parentSequence" | "gapCheck"> {
  if (parent === undefined) {
    const none = { parentId: null, parentSha256: null, parentSequence: null };
    return { type: "base", ...none, gapCheck: "base" };
  }
  const { manifest, sha256 } = parent.stored;
  const { backupId: parentId, sequence: parentSequence } = manifest;
  return { type: "incremental", parentId, parentSha256: sha256, parentSequence, gapCheck };
}

async function storeAnew(
  { from, to, signal }: CopyRoute,
  folded: StoredManifest,
  sealer: Sealer,
): Promise<WrittenBackup> {
  const { blockBytes, blockCount } = folded.manifest;
  const writer = openBackupWriter(to, { blockBytes, blockCount, sealer, signal });
  return await storePieces(writer, readBlocks(from, [folded], { onlyOwn: true, signal }));
}

async function commit({ to, signer }: CopyRoute, manifest: Manifest): Promise<StoredManifest> {
  const key = keyOfManifest(manifest, sha256Hex);
  const versions = await newestVersions(to.store, sidecarPrefix("maps", key));
  const left = versions.get(key);
  if (left !== undefined) {
    // Of one that was removed there: it must not count for this one.
    const stored = { manifest, key, sha256: to.digestOf(manifest) };
    const map = { ...nextMap(stored), version: left + 1 };
    await putMap(to.store, { stored, map, signer });
  }
  try {
    return await to.commit(manifest);
  } catch (error) {
    const isTaken = error instanceof IbackupError && error.code === "LOCKED";
    throw isTaken ? placeTaken(to, manifest.backupId) : error;
  }
}
