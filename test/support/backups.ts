import { randomUUID } from "node:crypto";
import { chainOf, selectBackup } from "../../src/core/chain.ts";
import type { BlockExtent } from "../../src/core/extent.ts";
import type { Manifest, ManifestDetails, StoredManifest } from "../../src/core/manifest.ts";
import { assert } from "../../src/errors.ts";
import {
  type BackupWriter,
  openBackupWriter,
  type WrittenBackup,
} from "../../src/repo/backup_writer.ts";
import { type Piece, type ReadOptions, readBlocks } from "../../src/repo/block_reader.ts";
import { sealManifest, signManifest } from "../../src/repo/manifest_seal.ts";
import { createRepository, type Repository } from "../../src/repo/repository.ts";
import type { Signer } from "../../src/repo/signature.ts";
import type { Store } from "../../src/store/store.ts";
import { MemoryStore } from "./memory_store.ts";

export const BLOCK_BYTES = 4096;

/** Blocks to add to a backup; no content means zeroes, told as such. */
export interface Change extends BlockExtent {
  bytes?: Uint8Array;
}

/** Of an id of its own: machines remember what they have seen in which repository. */
export async function newRepository(store: Store = new MemoryStore()): Promise<Repository> {
  return await createRepository(store, { id: randomUUID(), createdAt: new Date(0) });
}

/** A valid manifest; `number` makes its id, its place and its times. */
export function exampleManifest(number: number, fields: Partial<Manifest> = {}): Manifest {
  const at = new Date(Date.UTC(2026, 10, 22) + number * 1000).toISOString();
  const parentId = fields.parentId ?? null;
  return {
    backupId: `${at.slice(0, 19).replaceAll(/[-:]/g, "")}Z-${number.toString(16).padStart(8, "0")}`,
    vmId: "vm-1",
    disk: {
      name: "vda",
      sizeBytes: (fields.blockCount ?? 0) * (fields.blockBytes ?? BLOCK_BYTES),
      logicalBlockBytes: 512,
      identity: { kind: "serial", value: "S3R1AL" },
    },
    type: parentId === null ? "base" : "incremental",
    parentId,
    parentSha256: null,
    parentSequence: null,
    sequence: number,
    capturedAt: at,
    startedAt: at,
    finishedAt: at,
    consistency: "quiet",
    gapCheck: parentId === null ? "base" : "trusted",
    freezeMs: null,
    passes: 1,
    blockBytes: BLOCK_BYTES,
    blockCount: 0,
    blocksChanged: 0,
    blocksZero: 0,
    bytesRead: 0,
    bytesStored: 0,
    indexes: [],
    ibackupVersion: "0.1.0",
    seal: null,
    details: { partitionTableSha256: null, gapReason: "test", tracking: null, fileSystems: [] },
    writer: null,
    signature: null,
    ...fields,
  };
}

/** Of a manifest that is not sealed. */
export function clearDetails({ details }: Manifest): ManifestDetails {
  assert(typeof details === "object", "the manifest is not sealed");
  return details;
}

/** What a child of `parent` says of it. */
export function continuing(parent: StoredManifest | undefined): Partial<Manifest> {
  if (!parent) return {};
  return {
    parentId: parent.manifest.backupId,
    parentSha256: parent.sha256,
    parentSequence: parent.manifest.sequence,
    sequence: parent.manifest.sequence + 1,
  };
}

export interface TakenDisk {
  blockCount: number;
  parent?: StoredManifest | undefined;
  sequence?: number;
  signer?: Signer;
}

/** Writes the changes and commits a backup of them, sealed where the repository is. */
export async function takeBackup(
  repository: Repository,
  { blockCount, parent, sequence = 0, signer }: TakenDisk,
  changes: Iterable<Change>,
): Promise<StoredManifest> {
  const sealer = await repository.sealer();
  const options = { blockBytes: BLOCK_BYTES, blockCount, sealer };
  const written = await write(openBackupWriter(repository, options), changes);
  const number = parent ? parent.manifest.sequence + 1 : sequence;
  const example = exampleManifest(number, { ...continuing(parent), blockCount, ...written });
  const draft = { ...example, details: clearDetails(example) };
  const manifest = signManifest(await sealManifest(draft, sealer), signer);
  sealer.close();
  return await repository.commit(manifest);
}

async function write(writer: BackupWriter, changes: Iterable<Change>): Promise<WrittenBackup> {
  for (const { bytes, ...extent } of changes) {
    if (bytes) await writer.add(extent, bytes);
    else await writer.addZero(extent);
  }
  return await writer.finish();
}

/** The chain that ends in a backup, as the repository lists it. */
export async function chainTo(
  repository: Repository,
  backup: StoredManifest,
): Promise<StoredManifest[]> {
  return chainOf(await repository.manifests(), backup.manifest.backupId);
}

/** The backup of an id, read anew. */
export async function backupOf(repository: Repository, id: string): Promise<StoredManifest> {
  return selectBackup(await repository.manifests(), { id });
}

/** Reads a whole disk; every block must come exactly once. Lost or unwanted blocks are 0xee. */
export async function restore(
  repository: Repository,
  chain: StoredManifest[],
  options: ReadOptions = {},
): Promise<Uint8Array> {
  const blockCount = chain.at(-1)?.manifest.blockCount ?? 0;
  const disk = new Uint8Array(blockCount * BLOCK_BYTES).fill(0xee);
  const seen = new Uint8Array(blockCount);
  for await (const piece of readBlocks(repository, chain, options)) {
    apply(disk, piece);
    for (let block = 0; block < piece.blockCount; block++) {
      assert(!seen[piece.firstBlock + block], "a block comes once");
      seen[piece.firstBlock + block] = 1;
    }
  }
  const isPartial = options.extents !== undefined || options.onDamage !== undefined;
  assert(isPartial || !seen.includes(0), "every block comes");
  return disk;
}

function apply(disk: Uint8Array, piece: Piece): void {
  const start = piece.firstBlock * BLOCK_BYTES;
  const end = start + piece.blockCount * BLOCK_BYTES;
  if (end > disk.length) return;
  if (piece.kind === "data") disk.set(piece.bytes, start);
  else disk.fill(0, start, end);
}

/** Applies base and incrementals one after another, as `restore --replay` does. */
export async function replay(repository: Repository, chain: StoredManifest[]): Promise<Uint8Array> {
  const blockCount = chain.at(-1)?.manifest.blockCount ?? 0;
  const disk = new Uint8Array(blockCount * BLOCK_BYTES).fill(0xee);
  for (const index of chain.keys()) {
    const upTo = chain.slice(0, index + 1);
    for await (const piece of readBlocks(repository, upTo, { onlyOwn: true })) {
      apply(disk, piece);
    }
  }
  return disk;
}

/** Numbers that look random and are the same each time. */
export function seededRandom(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Blocks that compress a little, and differ from one another. */
export function content(blockCount: number, seed: number): Uint8Array {
  const random = seededRandom(seed * 7919 + 1);
  const words = new Uint32Array((blockCount * BLOCK_BYTES) / 4);
  for (let at = 0; at < words.length; at++) words[at] = at % 3 === 0 ? random(2 ** 32) : seed + 1;
  return new Uint8Array(words.buffer);
}
