/**
 * Keeps what the newest backup of a disk needs locked for as long as the backup itself, where the store
 * locks objects: its chain was stored, and locked, long before.
 *
 * An object is locked for a little longer than it must, so that it is extended once in a while and not
 * for every backup. The state folder remembers until when the whole chain is locked at the least;
 * without that, each object is asked for, once.
 */
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { z } from "zod";
import { chainOf } from "../core/chain.ts";
import { toHex } from "../core/hex.ts";
import type { StoredManifest } from "../core/manifest.ts";
import { parseManifestKey } from "../core/manifest_key.ts";
import { mapInOrder } from "../core/ordered.ts";
import { type LockRule, lockedLongEnough, lockedUntil } from "../core/store_settings.ts";
import { messageOf } from "../errors.ts";
import { chainObjects } from "../repo/chain_objects.ts";
import type { Repository } from "../repo/repository.ts";
import type { JobContext } from "./context.ts";
import { readStateFile, replaceStateFile } from "./state_file.ts";

const CALLS_IN_FLIGHT = 16;

const stateSchema = z.strictObject({
  /** The newest backup, whose whole chain is locked. */
  backupId: z.string(),
  /** When the first retention of all those objects ends; milliseconds since 1970. */
  untilMs: z.number(),
});

type LockState = z.infer<typeof stateSchema>;
type LockContext = Pick<
  JobContext,
  "stateDir" | "clock" | "random" | "progress" | "signal" | "freezeGate"
>;

/** Never fails: the backup exists, and the next one makes up for what is missing. */
export async function keepLocked(
  context: LockContext,
  repository: Repository,
  newest: StoredManifest,
): Promise<void> {
  const { lock } = repository.store;
  if (lock === undefined) return;
  try {
    const path = statePath(context, repository, newest);
    const { backupId } = newest.manifest;
    const chain = chainOf(await repository.manifests(() => undefined), backupId);
    const known = knownUntil(readState(path), chain);
    const now = context.clock.now();
    const isLong = known !== undefined && known >= now.getTime() + lock.retainMs;
    const untilMs = isLong ? known : await extend(context, { repository, chain, lock, now });
    await context.freezeGate.write(() => writeState(context, path, { backupId, untilMs }));
  } catch (error) {
    const what = "the backup is stored, but some of what it needs may be locked for less long";
    context.progress.message(`${what}: ${messageOf(error)}`);
  }
}

/** A base has nothing that is older than itself. */
function knownUntil(
  state: LockState | undefined,
  chain: readonly StoredManifest[],
): number | undefined {
  const isOf = chain.some(({ manifest }) => manifest.backupId === state?.backupId);
  return isOf || chain.length === 1 ? state?.untilMs : undefined;
}

interface Work {
  repository: Repository;
  chain: readonly StoredManifest[];
  lock: LockRule;
  now: Date;
}

/**
 * One that fails keeps no other from being extended.
 * @returns When the first retention ends.
 * @throws What the first that failed threw.
 */
async function extend(
  { signal }: LockContext,
  { repository, chain, lock, now }: Work,
): Promise<number> {
  const { store } = repository;
  const [least, until] = [lockedLongEnough(lock, now), lockedUntil(lock, now)];
  const extension = { mode: lock.mode, least, until };
  let untilMs = Number.POSITIVE_INFINITY;
  let failure: { error: unknown } | undefined;
  const extendOne = async (key: string): Promise<void> => {
    signal.throwIfAborted();
    try {
      const end = await store.extendRetention(key, extension);
      untilMs = Math.min(untilMs, end.getTime());
    } catch (error) {
      failure ??= { error };
    }
  };
  const keys = chainObjects(repository, chain);
  for await (const _ of mapInOrder(keys, CALLS_IN_FLIGHT, extendOne));
  if (failure) throw failure.error;
  return untilMs;
}

function statePath(
  context: LockContext,
  { id, store }: Repository,
  { key }: StoredManifest,
): string {
  const folder = `${context.stateDir()}/locked-${id}`;
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // The same repository may be in several stores.
  const place = createHash("sha256").update(store.url).digest("hex").slice(0, 16);
  return `${folder}/${place}-${parseManifestKey(key)?.diskTag}.json`;
}

/** One that cannot be read is none: then each object is asked for. */
function readState(path: string): LockState | undefined {
  const text = readStateFile(path);
  if (text === undefined) return undefined;
  try {
    return stateSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

function writeState(context: LockContext, path: string, state: LockState): void {
  const draft = `${path}.${toHex(context.random(8))}`;
  replaceStateFile(path, draft, `${JSON.stringify(state, null, 2)}\n`);
}
