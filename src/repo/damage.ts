import type { BlockExtent } from "../core/extent.ts";
import { IbackupError } from "../errors.ts";

/** Blocks that cannot be given, and the object whose fault it is. */
export interface Damage {
  /** Key of the object. */
  object: string;
  reason: string;
  /** Ascending. */
  extents: BlockExtent[];
}

/** Most extents that a message lists. */
const EXTENTS_SHOWN = 4;

/** @returns A CORRUPT_DATA that names the object, what is wrong, and the blocks it takes away. */
export function damageError({ object, reason, extents }: Damage): IbackupError {
  return new IbackupError("CORRUPT_DATA", `Cannot read ${describeBlocks(extents)} of the backup`, {
    why: `"${object}": ${reason}`,
    fix: "run `ibackup verify --data` to see all damage; `restore --partial` gives the rest",
  });
}

/** "block 7" or "blocks 0 to 63, 128 to 191 and 3 more ranges". */
export function describeBlocks(extents: readonly BlockExtent[]): string {
  const ranges = extents
    .slice(0, EXTENTS_SHOWN)
    .map(({ firstBlock, blockCount }) =>
      blockCount === 1 ? `${firstBlock}` : `${firstBlock} to ${firstBlock + blockCount - 1}`,
    );
  const more = extents.length - ranges.length;
  const rest = more > 0 ? ` and ${more} more ranges` : "";
  const isSingle = extents.length === 1 && extents[0]?.blockCount === 1;
  return `${isSingle ? "block" : "blocks"} ${ranges.join(", ")}${rest}`;
}

/**
 * For gc and prune: whatever the object reaches is needed, and nobody knows what that is.
 *
 * @param object The one that cannot be read.
 * @param way Out of it.
 */
export function cannotTell(
  object: string,
  cause: IbackupError,
  way: "remove it" | "remove its backups",
): IbackupError {
  const fix = {
    "remove it":
      "`ibackup prune --damaged --dry-run` shows what cannot be read and would have to go",
    "remove its backups": "remove the backups that it takes away, which `ibackup verify` names",
  };
  return new IbackupError("CORRUPT_DATA", "Cannot tell what is needed", {
    why: `"${object}": ${cause.why}`,
    fix: `${fix[way]}; nothing was removed`,
    cause,
  });
}
