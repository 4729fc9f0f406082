/** Notes what no disk could prove, so that it is known without reading all data again. */
import { countLosses } from "../repo/losses.ts";
import { changeNote } from "../repo/notes.ts";
import type { JobContext } from "./context.ts";
import type { Problem } from "./verify.ts";

/**
 * @param problems What was found before the repair: what was stored again is not lost.
 * @param isWhole Every byte was read. Then a backup of which nothing is lost is noted as whole.
 */
export async function recordLosses(
  context: JobContext,
  { problems, isWhole }: { problems: readonly Problem[]; isWhole: boolean },
): Promise<void> {
  const repository = await context.openRepository();
  const { signal } = context;
  const backups = await repository.manifests(() => undefined);
  const damaged = new Set(problems.map(({ object }) => object));
  const losses = await countLosses(repository, backups, { damaged, signal });
  for (const stored of backups) {
    signal.throwIfAborted();
    const found = losses.get(stored.manifest.backupId) ?? 0;
    if (found === 0 && !isWhole) continue;
    await changeNote(repository.store, stored, ({ blocksLost }) => {
      return { blocksLost: isWhole ? found : Math.max(found, blocksLost) };
    });
  }
}
