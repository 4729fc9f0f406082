/** The changed blocks of a disk, by their place on it: what the picture's grid shows. Pure. */
import type { ActivityDocument } from "../api/schemas.ts";

/** How long a part of the disk counts as just written. */
const FRESH_MS = 1_200;

/** 0: nothing has changed there; LEVEL_MAX: most of it. */
export const LEVEL_MAX = 5;
const LEVEL_SHARES = [0.02, 0.1, 0.3, 0.6];

export interface DiskMap {
  readonly blockCount: number;
  readonly blocksPerCell: number;
  /** Changed blocks in each part. */
  readonly cells: readonly number[];
  readonly unplacedBlocks: number;
  /** When a part was written to last, by its number; only what is fresh. */
  readonly hits: ReadonlyMap<number, number>;
}

export interface ChangedExtent {
  firstBlock: number;
  blockCount: number;
}

/** @param before What was shown until now: what is fresh stays so. */
export function diskMapOf(activity: ActivityDocument, before?: DiskMap): DiskMap {
  const { blockCount, blocksPerCell, cells, unplacedBlocks } = activity;
  return { blockCount, blocksPerCell, cells, unplacedBlocks, hits: before?.hits ?? new Map() };
}

/** Takes over blocks that have turned dirty. Costs as many steps as parts are touched. */
export function withBlocks(
  map: DiskMap,
  extents: readonly ChangedExtent[],
  nowMs: number,
): DiskMap {
  const cells = [...map.cells];
  const hits = new Map(map.hits);
  for (const { firstBlock, blockCount } of extents) {
    const end = Math.min(firstBlock + blockCount, map.blockCount);
    for (let block = firstBlock; block < end; ) {
      const cell = Math.floor(block / map.blocksPerCell);
      const next = Math.min((cell + 1) * map.blocksPerCell, end);
      cells[cell] = Math.min((cells[cell] ?? 0) + next - block, map.blocksPerCell);
      hits.set(cell, nowMs);
      block = next;
    }
  }
  return { ...map, cells, hits };
}

/** Forgets what is no longer fresh. @returns The same map when nothing is. */
export function cooled(map: DiskMap, nowMs: number): DiskMap {
  const fresh = [...map.hits].filter(([, atMs]) => nowMs - atMs < FRESH_MS);
  return fresh.length === map.hits.size ? map : { ...map, hits: new Map(fresh) };
}

/** One changed block is never shown as none. */
export function levelOf(changedBlocks: number, blocksPerCell: number): number {
  if (changedBlocks <= 0) return 0;
  const share = changedBlocks / blocksPerCell;
  return 1 + LEVEL_SHARES.filter((limit) => share >= limit).length;
}

/** @param aspect How much wider than high the grid is to be. @returns Its width, in cells. */
export function columnsFor(cellCount: number, aspect: number): number {
  return Math.max(1, Math.ceil(Math.sqrt(cellCount * aspect)));
}

/** The parts of each level, from 0 to LEVEL_MAX, by number. */
export function cellsByLevel({ cells, blocksPerCell }: DiskMap): number[][] {
  const levels: number[][] = Array.from({ length: LEVEL_MAX + 1 }, () => []);
  for (const [index, changed] of cells.entries()) {
    levels[levelOf(changed, blocksPerCell)]?.push(index);
  }
  return levels;
}

/** The `d` of an SVG path that draws a square for each of some parts: one element, however many. */
export function squaresPath(cells: readonly number[], columns: number): string {
  return cells
    .map((cell) => `M${cell % columns} ${Math.floor(cell / columns)}h.86v.86h-.86z`)
    .join("");
}
