/** Writes a backup back to a device, into an image file, or to standard output. */
import { existsSync, statSync } from "node:fs";
import type { Writable } from "node:stream";
import type { BlockSet } from "../core/block_set.ts";
import { chainOf } from "../core/chain.ts";
import type { Manifest, StoredManifest } from "../core/manifest.ts";
import { describeOddities } from "../core/writers.ts";
import { describeDevice } from "../disk/block_device.ts";
import { mountsOf } from "../disk/mounts.ts";
import { openDeviceTarget, openFileTarget, type RestoreTarget } from "../disk/restore_target.ts";
import { IbackupError } from "../errors.ts";
import { type Damage, planReads, readBlocks } from "../repo/block_reader.ts";
import { readNotes } from "../repo/notes.ts";
import { findBackup } from "./catalogue.ts";
import { findDifferences } from "./compare_content.ts";
import type { JobContext } from "./context.ts";
import { DamageNotes } from "./damage_notes.ts";
import { streamBackup } from "./restore_stream.ts";
import type { Applied, RestoreOptions, RestoreTask } from "./restore_task.ts";
import { applyPieces } from "./restore_write.ts";
import { openTargetKernel } from "./target_kernel.ts";
import { findOwnWriter } from "./writer_key.ts";

export interface RestoreResult {
  backupId: string;
  target: string;
  dryRun: boolean;
  sizeBytes: number;
  /** Backups that the restored state is made of, base first. */
  chain: string[];
  /** Ranged reads of packs that it takes, and their bytes. */
  requests: number;
  bytesFetched: number;
  bytesWritten: number;
  bytesZeroed: number;
  /** Null when it was not asked for. */
  verified: boolean | null;
  damaged: Damage[];
  durationMs: number;
}

/**
 * @throws IbackupError; a device may then be half written, which the error says, and a new file is
 *   removed. Damaged data are never written: CORRUPT_DATA, or with `partial` left out and named.
 */
export async function restoreBackup(
  context: JobContext,
  options: RestoreOptions,
): Promise<RestoreResult> {
  refuseMixture(options);
  const startedMs = context.clock.monotonicMs();
  const repository = await context.openRepository();
  const { manifests, stored } = await findBackup(context, options.backup);
  const { manifest } = stored;
  const chain = chainOf(manifests, manifest.backupId);
  for (const oddity of describeOddities(chain, findOwnWriter(context))) {
    context.progress.message(`warning: ${oddity}`);
  }
  if (!options.partial) await refuseLost(context, stored);
  // An older backup of a disk that has shrunk since may speak of more blocks.
  const damaged = new DamageNotes(Math.max(...chain.map((stored) => stored.manifest.blockCount)));
  const plan = await planReads(repository, chain, { onDamage: noteInto(damaged, options) });
  const restore = { context, options, repository, chain, manifest, plan, damaged };
  try {
    const done = options.dryRun ? NOTHING_DONE : await run(restore);
    return {
      backupId: manifest.backupId,
      target: options.target,
      dryRun: options.dryRun,
      sizeBytes: manifest.disk.sizeBytes,
      chain: chain.map((stored) => stored.manifest.backupId),
      requests: plan.requests,
      bytesFetched: plan.bytesFetched,
      ...done,
      damaged: damaged.list(),
      durationMs: Math.round(context.clock.monotonicMs() - startedMs),
    };
  } finally {
    context.progress.end();
  }
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

type Done = Applied & { verified: boolean | null };
const NOTHING_DONE: Done = { bytesWritten: 0, bytesZeroed: 0, verified: null };

async function run(restore: RestoreTask): Promise<Done> {
  const { context, options, manifest } = restore;
  if (options.target === "-") {
    const applied = await streamBackup(restore, await standardOutput());
    return { ...applied, verified: null };
  }
  const target = await openTarget(restore);
  try {
    context.progress.begin(`restoring to ${target.path}`, manifest.disk.sizeBytes);
    const applied = await apply(restore, target);
    const verified = options.verify ? await verify(restore, target) : null;
    await target.finish();
    return { ...applied, verified };
  } finally {
    await target.abandon();
  }
}

async function apply(restore: RestoreTask, target: RestoreTarget): Promise<Applied> {
  const { context, options, repository, chain, damaged } = restore;
  const read = { signal: context.signal, onDamage: noteInto(damaged, options) };
  if (!options.replay) {
    return await applyPieces(restore, target, {
      pieces: readBlocks(repository, chain, read),
      skipZeroes: target.startsZeroed,
    });
  }
  const total = { bytesWritten: 0, bytesZeroed: 0 };
  for (const index of chain.keys()) {
    const pieces = readBlocks(repository, chain.slice(0, index + 1), { ...read, onlyOwn: true });
    const skipZeroes = target.startsZeroed && index === 0;
    const applied = await applyPieces(restore, target, { pieces, skipZeroes });
    total.bytesWritten += applied.bytesWritten;
    total.bytesZeroed += applied.bytesZeroed;
  }
  return total;
}

/** @throws IbackupError DIFFERENT when what was written does not read back the same. */
async function verify(restore: RestoreTask, target: RestoreTarget): Promise<boolean> {
  const { context, options, repository, chain, manifest } = restore;
  const { blockBytes, blockCount } = manifest;
  context.progress.begin(`verifying ${target.path}`, manifest.disk.sizeBytes);
  const onDamage = options.partial ? () => undefined : undefined;
  const different = await findDifferences(
    readBlocks(repository, chain, { signal: context.signal, onDamage }),
    {
      blockBytes,
      blockCount,
      readInto: ({ firstBlock }, bytes) => target.read(firstBlock * blockBytes, bytes),
    },
    (bytes) => context.progress.advance(bytes),
  );
  if (different.isEmpty) return true;
  throw new IbackupError("DIFFERENT", `Cannot verify "${target.path}"`, {
    why: `${different.count()} blocks read back otherwise than written, the first at byte ${firstByte(different, blockBytes)}`,
    fix: "the target is not reliable: check it with `dmesg`, and restore to another one",
  });
}

function firstByte(blocks: BlockSet, blockBytes: number): number {
  for (const { firstBlock } of blocks.extents()) return firstBlock * blockBytes;
  return 0;
}

async function openTarget(restore: RestoreTask): Promise<RestoreTarget> {
  const { context, options, manifest } = restore;
  const { sizeBytes } = manifest.disk;
  const { target: path, force, changedOnly } = options;
  if (!statSync(path, { throwIfNoEntry: false })?.isBlockDevice()) {
    return await openFileTarget(path, { sizeBytes, inPlace: changedOnly, force });
  }
  const device = describeDevice(path);
  const [mount] = mountsOf(device);
  if (mount !== undefined) {
    throw new IbackupError("TARGET_BUSY", `Cannot restore to "${path}"`, {
      why: `${mount.source} is mounted at ${mount.mountpoint}`,
      fix: `unmount it (\`umount ${mount.mountpoint}\`), or name another target`,
    });
  }
  if (isSource(manifest, options, device) && !force) {
    throw new IbackupError("TARGET_BUSY", `Cannot restore to "${path}"`, {
      why: "it is the disk that the backup was taken of, and all on it would be overwritten",
      fix: "name another target, or add --force if that is what you want",
    });
  }
  return await openDeviceTarget(device, {
    sizeBytes,
    kernel: (descriptor) => openTargetKernel(context, device, descriptor),
  });
}

/** True for the disk itself, for the whole disk of a partition, and for a partition of it. */
function isSource(
  { disk, vmId }: Manifest,
  options: RestoreOptions,
  { identity, name }: ReturnType<typeof describeDevice>,
): boolean {
  const [source, target] = [disk.identity, identity];
  if (source.kind !== target.kind) return false;
  // A copy has the id of the partition table too, and may be restored to again.
  if (target.kind === "ptuuid" && isAnother(disk.name, name)) return false;
  // What the kernel calls a disk means nothing on another machine.
  if (target.kind === "name" && vmId !== options.backup.vmId) return false;
  return (
    [source.value, wholeOf(source.value)].includes(target.value) ||
    wholeOf(target.value) === source.value
  );
}

/** True when the named disk is here as well, and is not this device nor a part of it. */
function isAnother(diskName: string, deviceName: string): boolean {
  const isHere = /^[\w-]+$/.test(diskName) && existsSync(`/sys/class/block/${diskName}`);
  return isHere && !diskName.startsWith(deviceName) && !deviceName.startsWith(diskName);
}

function wholeOf(identity: string): string {
  return identity.replace(/-part[0-9]+$/, "");
}

/** Collects damage where a partial restore was asked for; otherwise the first one is thrown. */
function noteInto(
  damaged: DamageNotes,
  { partial }: RestoreOptions,
): ((damage: Damage) => void) | undefined {
  return partial ? (damage) => damaged.take(damage) : undefined;
}

async function standardOutput(): Promise<Writable> {
  const { stdout } = await import("node:process");
  return stdout;
}
