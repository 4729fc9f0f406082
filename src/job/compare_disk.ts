/**
 * Compares a disk with the backup that a flush continues: by digests where this machine has them,
 * which reads the disk alone, and else with what the repository holds.
 */
import { BlockSet } from "../core/block_set.ts";
import { chainOf } from "../core/chain.ts";
import type { BlockExtent } from "../core/extent.ts";
import type { Manifest } from "../core/manifest.ts";
import type { KnownDigests } from "../digests/known_digests.ts";
import type { DigestRecorder } from "../digests/recorder.ts";
import { type Piece, readBlocks } from "../repo/block_reader.ts";
import { findDifferences } from "./compare_content.ts";
import { describe } from "./flush_digests.ts";
import type { FlushTask } from "./flush_task.ts";

/** More pieces than this to read from the repository, and all is read in one. */
const EXTENTS_MAX = 65_536;

export interface Comparison {
  /** Blocks that are not as the parent has them, or of which the parent's copy is damaged. */
  different: BlockSet;
  /** For the manifest. */
  how: string;
}

/**
 * Why a disk cannot be compared with its parent: what only takes backups has no identity, and
 * without one there are only digests.
 */
export function compareObstacle(flush: FlushTask, parent: Manifest): string | undefined {
  const { repository, options, digestCache } = flush;
  if (repository.canOpen) return undefined;
  if (options.scan) return "a scan reads the repository, which needs an identity";
  const known = digestCache?.known(describe(parent));
  known?.close();
  if (known !== undefined) return undefined;
  return "the digests of its newest backup are lost, and reading it needs an identity";
}

/** A scan that was asked for never relies on digests: so it also finds what the store has lost. */
export async function compareWithParent(flush: FlushTask, parent: Manifest): Promise<Comparison> {
  const { disk, context, digestCache, options } = flush;
  const different = new BlockSet(disk.blockCount);
  const common = Math.min(parent.blockCount, disk.blockCount);
  const known = options.scan ? undefined : digestCache?.known(describe(parent));
  context.progress.begin(`comparing ${disk.device.path}`, disk.device.sizeBytes);
  const unknown = known ? await compareByDigests(flush, known, different) : BlockSet.full(common);
  if (!flush.repository.canOpen) different.addAll(unknown);
  else if (!unknown.isEmpty) {
    different.addAll(await compareWithRepository(flush, parent, unknown));
  }
  if (disk.blockCount > common) different.add(common, disk.blockCount - common);
  const otherwise = flush.repository.canOpen
    ? "with the repository"
    : "not at all where they are lost";
  const ways = [known && "by digests", !unknown.isEmpty && otherwise];
  return { different, how: `compared ${ways.filter(Boolean).join(" and ")}` };
}

/** @returns The blocks of which the digests are not known; they have not been read. */
async function compareByDigests(
  { disk, reader, context }: FlushTask,
  known: KnownDigests,
  different: BlockSet,
): Promise<BlockSet> {
  const unknown = new BlockSet(disk.blockCount);
  try {
    const extents = known.extents(disk.blockCount, unknown);
    for await (const { bytes, ...extent } of reader.read(extents, context.signal)) {
      known.differences(extent, bytes, different);
      context.progress.advance(bytes.length);
    }
    return unknown;
  } finally {
    known.close();
  }
}

/** Compares byte for byte, and takes down the digests, so that the next comparison is cheap. */
async function compareWithRepository(
  flush: FlushTask,
  parent: Manifest,
  blocks: BlockSet,
): Promise<BlockSet> {
  const { disk, context, repository, reader } = flush;
  const missing = new BlockSet(disk.blockCount);
  const described = describe(parent);
  const recorder = flush.digestCache?.record(described, described);
  const pieces = readBlocks(repository, chainOf(flush.backups, parent.backupId), {
    signal: context.signal,
    extents: extentsOf(blocks),
    // Stored again, so that the chain is whole again from this backup on.
    onDamage: ({ extents }) => {
      for (const { firstBlock, blockCount } of extents) {
        const end = Math.min(firstBlock + blockCount, disk.blockCount);
        if (end > firstBlock) missing.add(firstBlock, end - firstBlock);
      }
    },
  });
  try {
    const different = await findDifferences(recorded(pieces, recorder), reader, (bytes) =>
      context.progress.advance(bytes),
    );
    if (!missing.isEmpty) different.addAll(missing);
    await context.freezeGate.write(() => recorder?.commit(parent.backupId));
    return different;
  } finally {
    await recorder?.abort();
  }
}

async function* recorded(
  pieces: AsyncIterable<Piece>,
  recorder: DigestRecorder | undefined,
): AsyncGenerator<Piece> {
  for await (const piece of pieces) {
    if (piece.kind === "zero") recorder?.addZero(piece);
    else recorder?.add(piece, piece.bytes);
    yield piece;
  }
}

function extentsOf(blocks: BlockSet): BlockExtent[] {
  const extents: BlockExtent[] = [];
  for (const extent of blocks.extents()) {
    if (extents.length === EXTENTS_MAX) return [{ firstBlock: 0, blockCount: blocks.blockCount }];
    extents.push(extent);
  }
  return extents;
}
