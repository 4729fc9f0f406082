/** Text for people. */

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

/** Without what would move the cursor or change colours: names come from repositories. */
export function printable(text: string): string {
  return text.replaceAll(/[^\P{Cc}\n\t]/gu, "?");
}
