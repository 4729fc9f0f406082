/** Finds out what a restore will take, before anything is written. */
import { chainOf } from "../core/chain.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { describeOddities } from "../core/writers.ts";
import { IbackupError } from "../errors.ts";
import { type Damage, planReads } from "../repo/block_reader.ts";
import { readNotes } from "../repo/notes.ts";
import { findBackup } from "./catalogue.ts";
import type { JobContext } from "./context.ts";
import { DamageNotes } from "./damage_notes.ts";
import type { RestoreOptions, RestoreTask } from "./restore_task.ts";
import { findOwnWriter } from "./writer_key.ts";

/** @throws IbackupError when it cannot be done, as far as the repository tells; NO_KEY. */
export async function prepareRestore(
  context: JobContext,
  options: RestoreOptions,
): Promise<RestoreTask> {
  refuseMixture(options);
  const repository = await context.openRepository();
  const { manifests, stored } = await findBackup(context, options.backup);
  const { manifest } = stored;
  const chain = chainOf(manifests, manifest.backupId);
  const known = { all: manifests, own: findOwnWriter(context) };
  for (const oddity of describeOddities(chain, known)) {
    context.progress.message(`warning: ${oddity}`);
  }
  if (!options.partial) await refuseLost(context, stored);
  // An older backup of a disk that has shrunk since may speak of more blocks.
  const damaged = new DamageNotes(Math.max(...chain.map((stored) => stored.manifest.blockCount)));
  const plan = await planReads(repository, chain, { onDamage: noteInto(damaged, options) });
  return { context, options, repository, chain, manifest, plan, damaged };
}

/** Collects damage where a partial restore was asked for; otherwise the first one is thrown. */
export function noteInto(
  damaged: DamageNotes,
  { partial }: RestoreOptions,
): ((damage: Damage) => void) | undefined {
  return partial ? (damage) => damaged.take(damage) : undefined;
}

function refuseMixture({ replay, partial }: RestoreOptions): void {
  if (!replay || !partial) return;
  throw new IbackupError("USAGE", "Cannot restore with --replay and --partial", {
    why: "where a newer block is damaged, replaying would leave an older version of it in place",
    fix: "leave --replay out: without it the bytes are the same",
  });
}

/** What is known to be lost need not be found out half way. */
async function refuseLost(context: JobContext, stored: StoredManifest): Promise<void> {
  const { store } = await context.openRepository();
  const notes = await readNotes(store, [stored], ({ message, why }) =>
    context.progress.message(`warning: ${message}: ${why}`),
  );
  const blocksLost = notes.get(stored.key)?.blocksLost ?? 0;
  if (blocksLost === 0) return;
  throw new IbackupError("CORRUPT_DATA", `Cannot restore all of ${stored.manifest.backupId}`, {
    why: `${blocksLost} of its blocks were lost when \`ibackup verify --repair\` looked last`,
    fix: "`restore --partial` gives the rest; `ibackup verify --data --repair` looks again",
  });
}
