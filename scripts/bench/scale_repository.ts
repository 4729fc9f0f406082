/** A repository of many packs and one long chain, of a sparse disk: little data, many names. */
import { join } from "node:path";
import { indexKey } from "../../src/core/index_codec.ts";
import type { ManifestIndex, StoredManifest } from "../../src/core/manifest.ts";
import { packKey } from "../../src/core/pack.ts";
import { FRAME_DIGEST_BYTES, RECORD_KIND } from "../../src/core/records.ts";
import { IndexBuilder } from "../../src/repo/index_builder.ts";
import { PackBuilder } from "../../src/repo/pack_builder.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { NO_SEALER } from "../../src/repo/sealer.ts";
import { sha256, sha256Hex } from "../../src/repo/sha256.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import {
  BLOCK_BYTES,
  continuing,
  exampleManifest,
  newRepository,
} from "../../test/support/backups.ts";

/** Of the disk: 64 GiB. */
const BLOCKS = 2 ** 24;
const PUTS_IN_FLIGHT = 16;

/** @returns The URL of the repository. */
export async function makeScaleRepository(
  folder: string,
  { packs, backups }: { packs: number; backups: number },
): Promise<string> {
  const path = join(folder, `repository-${packs}`);
  const repository = await newRepository(new DirectoryStore(path));
  const perBackup = Math.ceil(packs / backups);
  let parent: StoredManifest | undefined;
  for (let number = 0; number < backups; number++) {
    const index = await storeBackup(repository, { number, perBackup, isBase: number === 0 });
    const fields = { ...continuing(parent), blockCount: BLOCKS, indexes: [index] };
    const capturedAt = new Date(Date.UTC(2026, 0, 1) + number * 3_600_000).toISOString();
    const sizes = { blocksChanged: perBackup, bytesStored: perBackup * BLOCK_BYTES };
    parent = await repository.commit(exampleManifest(number, { ...fields, ...sizes, capturedAt }));
  }
  return `file://${path}`;
}

/** One pack for each changed block. */
async function storeBackup(
  { store }: Repository,
  given: { number: number; perBackup: number; isBase: boolean },
): Promise<ManifestIndex> {
  const builder = new IndexBuilder();
  if (given.isBase) builder.add(undefined, [{ firstBlock: 0, blockCount: BLOCKS }]);
  const puts: Promise<void>[] = [];
  for (let number = 0; number < given.perBackup; number++) {
    const seed = given.number * given.perBackup + number;
    const extents = [{ firstBlock: (seed * 7919) % BLOCKS, blockCount: 1 }];
    const pack = new PackBuilder(new Uint8Array(2 * BLOCK_BYTES), NO_SEALER.begin("pack"));
    const bytes = new Uint8Array(BLOCK_BYTES).fill(seed % 251);
    const digest = (await sha256(bytes)).subarray(0, FRAME_DIGEST_BYTES);
    const place = await pack.append({ codec: RECORD_KIND.raw, bytes, raw: bytes, digest, extents });
    const stored = await pack.close(BLOCK_BYTES);
    const name = sha256Hex(stored);
    const packNumber = builder.addPack(Promise.resolve({ name, sizeBytes: stored.length }));
    builder.add({ ...place, pack: packNumber }, extents);
    puts.push(store.put(packKey(name), stored));
    if (puts.length % PUTS_IN_FLIGHT === 0) await Promise.all(puts.splice(0));
  }
  await Promise.all(puts);
  const { bytes, ...built } = await builder.close(BLOCK_BYTES, NO_SEALER.begin("index"));
  await store.put(indexKey(built.name), bytes);
  return { ...built, sizeBytes: bytes.length };
}
