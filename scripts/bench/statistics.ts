/** Of single measurements. */

/** @param share 0 the least, 0.5 the median, 1 the greatest. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)] ?? Number.NaN;
  const above = sorted[Math.ceil(at)] ?? Number.NaN;
  return below + (above - below) * (at - Math.floor(at));
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** "0.98 to 1.01, middle half 0.99 to 1.00, of 12". */
export function spreadOf(values: readonly number[], decimals: number): string {
  const [least, lower, upper, greatest] = [0, 0.25, 0.75, 1].map((share) =>
    quantile(values, share).toFixed(decimals),
  );
  return `${least} to ${greatest}, middle half ${lower} to ${upper}, of ${values.length}`;
}

/** "0.98 to 1.01": where the median of all that could be measured lies, 19 times of 20. */
export function medianRange(values: readonly number[], decimals: number): string {
  // So many values fall below it as heads come of that many coins: n / 2, give or take sqrt(n).
  const share = 0.98 / Math.sqrt(values.length);
  const [from, to] = [0.5 - share, 0.5 + share].map((at) =>
    quantile(values, Math.min(1, Math.max(0, at))).toFixed(decimals),
  );
  return `${from} to ${to}`;
}
