import { DigestFile, type DiskShape, type Seal } from "./digest_file.ts";
import type { CacheFiles } from "./files.ts";

/** Where the digests of one disk in one repository lie, and how they are reached. */
export interface CachePlace {
  files: CacheFiles;
  /** Of the file that describes the newest backup. */
  path: string;
  seal: Seal;
  /** So many bytes that nobody can guess. */
  random(bytes: number): Uint8Array;
  /** Told why the digests of a backup cannot be read or are not kept. */
  onDropped(why: string): void;
  /** Default: 8 MiB of them. */
  pagesInMemory?: number | undefined;
}

/** A backup as far as the cache needs to know it. */
export interface DescribedBackup extends DiskShape {
  backupId: string;
}

/** @returns Undefined when there is no such file, or it is not what it should be. */
export function openDescribed(
  { files, path, seal }: CachePlace,
  backup: DescribedBackup,
): DigestFile | undefined {
  const file = files.open(path);
  if (!file) return undefined;
  let described: DigestFile | undefined;
  try {
    const found = DigestFile.open(file, seal, backup.backupId);
    if (found && isSameShape(found.shape, backup)) described = found;
    return described;
  } finally {
    if (!described) file.close();
  }
}

export function isSameShape(left: DiskShape, right: DiskShape): boolean {
  return left.blockBytes === right.blockBytes && left.blockCount === right.blockCount;
}
