/** The objects that a backup needs, down to its packs. */
import { HEAD_PREFIX, manifestKeyOfHead } from "../core/head.ts";
import { indexKey } from "../core/index_codec.ts";
import { KEY_PREFIX } from "../core/key_slot.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { packKey } from "../core/pack.ts";
import { parseSidecarKey, sidecarPrefix } from "../core/sidecar_key.ts";
import { REPOSITORY_KEY, type Repository } from "./repository.ts";

/**
 * Keys of all that is needed to restore the last one of a chain, and to notice that something of it
 * was removed. A pack that two index objects name comes twice.
 *
 * @throws IbackupError CORRUPT_DATA when an index object is missing or damaged, in its turn.
 */
export async function* chainObjects(
  repository: Repository,
  chain: readonly StoredManifest[],
): AsyncGenerator<string> {
  yield REPOSITORY_KEY;
  for await (const { key } of repository.store.list(KEY_PREFIX)) yield key;
  yield* documents(repository, chain);
  for (const { manifest } of chain) {
    for (const index of manifest.indexes) {
      yield indexKey(index.name);
      for (const { name } of await repository.indexes.packs(manifest, index)) yield packKey(name);
    }
  }
}

async function* documents(
  { store }: Repository,
  chain: readonly StoredManifest[],
): AsyncGenerator<string> {
  const keys = new Set(chain.map(({ key }) => key));
  yield* keys;
  const [first] = chain;
  if (first === undefined) return;
  const folder = parentOf(first.key.replace(/^manifests\//, HEAD_PREFIX));
  for await (const { key } of store.list(folder)) {
    if (keys.has(manifestKeyOfHead(key))) yield key;
  }
  for (const kind of ["maps", "notes"] as const) {
    const ofDisk = parentOf(sidecarPrefix(kind, first.key).replace(/\/$/, ""));
    for await (const { key } of store.list(ofDisk)) {
      if (keys.has(parseSidecarKey(key)?.manifestKey ?? "")) yield key;
    }
  }
}

/** "heads/<tag>/" of "heads/<tag>/<sequence>". */
function parentOf(key: string): string {
  return key.slice(0, key.lastIndexOf("/") + 1);
}
