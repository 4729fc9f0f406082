/** Something of a certain size that is to be looked at now and then. */
export interface Turn {
  name: string;
  sizeBytes: number;
}

/**
 * Whose turn it is, when each time a share of all is looked at: those that follow the last one, by
 * name, as many as make up the share. After the last name the first one comes.
 *
 * @param all Names are unique.
 * @param share Above 0, at most 1.
 * @param last Name of the one that was looked at last; it need not be there any more.
 * @returns In the order of their turn. At least one, when there is any.
 */
export function takeTurns<T extends Turn>(
  all: readonly T[],
  { share, last }: { share: number; last: string },
): T[] {
  const byName = all.toSorted((left, right) => (left.name < right.name ? -1 : 1));
  const next = byName.findIndex(({ name }) => name > last);
  const first = Math.max(0, next);
  const turns = [...byName.slice(first), ...byName.slice(0, first)];
  let leftBytes = share * all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const count = turns.findIndex(({ sizeBytes }) => {
    leftBytes -= sizeBytes;
    return leftBytes <= 0;
  });
  return count < 0 ? turns : turns.slice(0, count + 1);
}
