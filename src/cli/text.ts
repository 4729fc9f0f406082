/** Text for people. */
import { formatCount } from "../core/units.ts";

/**
 * Columns aligned with two spaces between, no trailing spaces.
 * @param right Numbers of the columns that are aligned to the right.
 */
export function table(
  rows: readonly (readonly string[])[],
  right: ReadonlySet<number> = new Set(),
): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? "").length)),
  );
  const line = (row: readonly string[]): string =>
    row
      // A cell is one line, whatever its name is.
      .map((cell) => cell.replaceAll(/[\n\t]/g, "?"))
      .map((cell, column) =>
        right.has(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

/** "name: value" lines with the values below each other. */
export function properties(pairs: readonly (readonly [string, string])[]): string {
  return table(pairs.map(([name, value]) => [`${name}:`, value]));
}

/**
 * Without what would move the cursor, change colours, or turn the direction of writing: names come from
 * repositories.
 */
export function printable(text: string): string {
  return text.replaceAll(/(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?");
}

const RANGES_SHOWN = 8;

/** "7, 64 to 127 and 3 more ranges". */
export function blockRanges(
  extents: readonly { firstBlock: number; blockCount: number }[],
): string {
  const ranges = extents
    .slice(0, RANGES_SHOWN)
    .map(({ firstBlock, blockCount }) =>
      blockCount === 1 ? `${firstBlock}` : `${firstBlock} to ${firstBlock + blockCount - 1}`,
    );
  return someOf(ranges, extents.length, "range");
}

/** The texts that are shown, and how many are not. */
export function someOf(shown: readonly string[], count: number, noun: string): string {
  const more = count - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${formatCount(more, `more ${noun}`)}` : "");
}
