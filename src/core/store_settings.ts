/** What a store is asked to do with objects, and how fast they may go there. */

export interface StoreSettings {
  /** Of packs; all else is small, or needed at once. Default: that of the bucket. */
  storageClass?: string | undefined;
  /** Object lock: what is stored cannot be removed for so long. */
  lock?: { mode: LockMode; retainMs: number } | undefined;
  /** Encryption by the server, with keys that the server has. */
  encryption?: { kind: "AES256" | "aws:kms"; keyId?: string | undefined } | undefined;
  tags?: Readonly<Record<string, string>> | undefined;
  uploadBytesPerSecond?: number | undefined;
  /** Objects on their way at one time. */
  parallelUploads?: number | undefined;
}

export type LockMode = "governance" | "compliance";

/** What the store is told with one object. */
export interface ObjectRules {
  storageClass?: string | undefined;
  lock?: { mode: LockMode; until: Date } | undefined;
  encryption?: StoreSettings["encryption"];
  tags?: StoreSettings["tags"];
}

/** Those that come and go within a flush or a gc: to keep them would only be in the way. */
const SHORT_LIVED = /^(leases|claims|markers)\/|^probe-|^condition$/;
const PACK = /^packs\//;

/** @param now By the clock of this machine; one that is far off is refused by the server. */
export function rulesFor(key: string, settings: StoreSettings, now: Date): ObjectRules {
  const { storageClass, lock, encryption, tags } = settings;
  const isKept = !SHORT_LIVED.test(key);
  return {
    encryption,
    tags,
    storageClass: PACK.test(key) ? storageClass : undefined,
    lock:
      lock && isKept
        ? { mode: lock.mode, until: new Date(now.getTime() + lock.retainMs) }
        : undefined,
  };
}
