/** The digests that a flush uses and leaves. */
import type { Manifest } from "../core/manifest.ts";
import { diskTagOf } from "../core/manifest_key.ts";
import { type DigestCache, openDigestCache } from "../digests/digest_cache.ts";
import type { DescribedBackup } from "../digests/place.ts";
import type { DigestRecorder } from "../digests/recorder.ts";
import { IbackupError, messageOf } from "../errors.ts";
import type { Repository } from "../repo/repository.ts";
import { sha256Hex } from "../repo/sha256.ts";
import type { JobContext } from "./context.ts";
import type { SourceDisk } from "./source_disk.ts";
import type { Succession } from "./succession.ts";

/** Undefined where no digests can be kept; that stops no backup. */
export interface FlushDigests {
  digestCache: DigestCache | undefined;
  /** Takes down the digests of what the backup stores. */
  digests: DigestRecorder | undefined;
}

interface Flushed extends Pick<Succession, "diskName" | "parent"> {
  repository: Repository;
  disk: SourceDisk;
  vmId: string;
}

/**
 * What this machine knows of a disk's newest backup.
 * @param onDropped Told why, when it turns out to know nothing.
 * @throws What the system says.
 */
export async function openDigestsOf(
  context: JobContext,
  { repository, ...disk }: { repository: Repository; vmId: string; diskName: string },
  onDropped: (why: string) => void,
): Promise<DigestCache> {
  return await openDigestCache({
    folder: context.cacheDir(),
    repositoryId: repository.id,
    diskTag: diskTagOf(disk, sha256Hex),
    now: context.clock.now(),
    random: context.random,
    onDropped,
  });
}

/** Never fails: the user is told what is wrong with the cache. */
export async function openFlushDigests(
  context: JobContext,
  { repository, disk, vmId, diskName, parent }: Flushed,
): Promise<FlushDigests> {
  const onDropped = (why: string): void => {
    context.progress.message(`the digests of the blocks are not kept: ${why}`);
  };
  try {
    const digestCache = await openDigestsOf(context, { repository, vmId, diskName }, onDropped);
    const { blockBytes, blockCount } = disk;
    const described = parent && describe(parent.manifest);
    return { digestCache, digests: digestCache.record({ blockBytes, blockCount }, described) };
  } catch (error) {
    onDropped(error instanceof IbackupError ? `${error.message}: ${error.why}` : messageOf(error));
    return { digestCache: undefined, digests: undefined };
  }
}

/** What the digests have to fit. */
export function describe({ backupId, blockBytes, blockCount }: Manifest): DescribedBackup {
  return { backupId, blockBytes, blockCount };
}
