/** What of a disk can be frozen, and whether that is wanted and safe. */
import { fileURLToPath } from "node:url";
import type { ManifestDetails } from "../core/manifest.ts";
import { liesOn } from "../disk/path_mount.ts";
import { IbackupError } from "../errors.ts";
import type { FreezeTarget, FrozenMount } from "../tracker/freezer.ts";
import { DEFAULT_FREEZE, type FlushTask, type FreezeOptions } from "./flush_task.ts";

export interface Freezing extends FreezeOptions {
  /** What is mounted of the disk, in the order in which it is frozen. */
  targets: readonly FreezeTarget[];
  /** Why nothing is frozen; undefined where it can be. */
  obstacle: string | undefined;
  /** The repository stands on a file system of the disk. */
  feedsItself: boolean;
}

/**
 * @throws IbackupError CONSISTENCY when a frozen backup is asked for and cannot be, or UNSUPPORTED
 *   when ibackup itself would have to write to what is frozen.
 */
export function prepareFreezing(flush: FlushTask): Freezing {
  const { context, disk, options, repository } = flush;
  const asked = { ...DEFAULT_FREEZE, ...options.freeze };
  const targets = disk.freezeTargets();
  const mountIds = targets.map(({ mountId }) => mountId);
  const { url } = repository.store;
  const feedsItself = url.startsWith("file:") && liesOn(fileURLToPath(url), mountIds);
  if (feedsItself) {
    context.progress.message(
      `the repository ${url} stands on the disk that it is to protect: it will be lost with it, and each backup holds a copy of the one before`,
    );
  }
  const obstacle = obstacleOf(flush, asked, targets);
  if (obstacle !== undefined) {
    if (options.consistency === "frozen") throw cannotFreeze(options.device, obstacle);
    return { ...asked, targets, obstacle: obstacle.why, feedsItself };
  }
  if (liesOn(context.runtimeDir(), mountIds)) throw unsafeRuntimeFolder(context.runtimeDir());
  return { ...asked, targets, obstacle: undefined, feedsItself };
}

/** What the manifest says of the file systems; `mounts` is empty when nothing was frozen. */
export function fileSystemsOf(
  targets: readonly FreezeTarget[],
  mounts: readonly FrozenMount[],
): ManifestDetails["fileSystems"] {
  return targets.map(({ mountId, mountpoint, fileSystem }) => {
    const mount = mounts.find((it) => it.mountId === mountId);
    return { mountpoint, fileSystem, outcome: mount?.outcome ?? "not tried" };
  });
}

interface Obstacle {
  why: string;
  fix: string;
}

function obstacleOf(
  { disk, ledger, options }: FlushTask,
  { limitMs }: FreezeOptions,
  targets: readonly FreezeTarget[],
): Obstacle | undefined {
  const { device } = options;
  if (ledger === undefined) {
    return { why: "the disk is not tracked", fix: `run \`ibackup track start ${device}\` first` };
  }
  if (disk.trackingFacts?.seesEveryWrite !== true) {
    const why = "hook buffer alone does not see every write";
    return { why, fix: `run \`ibackup track start --hook block ${device}\` first` };
  }
  if (limitMs === 0) {
    return { why: "the freeze limit is 0", fix: "allow it: `--freeze-limit 10s`" };
  }
  if (targets.length === 0) {
    const why = "no file system of it is mounted, so there is nothing to freeze";
    return { why, fix: "ask for --consistency quiet, which needs a moment without writes" };
  }
  return undefined;
}

function cannotFreeze(device: string, { why, fix }: Obstacle): IbackupError {
  return new IbackupError("CONSISTENCY", `Cannot take a frozen backup of "${device}"`, {
    why,
    fix,
  });
}

function unsafeRuntimeFolder(folder: string): IbackupError {
  return new IbackupError("UNSUPPORTED", "Cannot freeze the file systems of this disk", {
    why: `the runtime folder "${folder}" lies on one of them, and has to be written meanwhile`,
    fix: "put it on a tmpfs by IBACKUP_RUNTIME_DIR, or never freeze: `--freeze-limit 0`",
  });
}
