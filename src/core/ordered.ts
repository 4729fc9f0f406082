/**
 * Runs `work` on the items, at most `limit` at a time, and yields the results in the order of the
 * items. The items are taken no further ahead than the limit, so memory stays bounded.
 *
 * The first failure, in that order, is thrown. Leaving the loop early waits for what had begun, so
 * that nothing runs on behind the caller's back.
 */
export async function* mapInOrder<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  limit: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R, void, undefined> {
  const begun: { result: Promise<R> }[] = [];
  try {
    for await (const item of items) {
      const task = { result: work(item) };
      // Reported when its turn comes; until then it is not an unhandled rejection.
      task.result.catch(() => undefined);
      begun.push(task);
      if (begun.length < limit) continue;
      const oldest = begun.shift();
      if (oldest) yield await oldest.result;
    }
    for (let next = begun.shift(); next; next = begun.shift()) yield await next.result;
  } finally {
    await Promise.allSettled(begun.map(({ result }) => result));
  }
}
