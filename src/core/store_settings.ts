/** What a store is asked to do with objects, and how fast they may go there. */

export interface StoreSettings {
  /** Of packs; all else is small, or needed at once. Default: that of the bucket. */
  storageClass?: string | undefined;
  /** Object lock: what is stored cannot be removed for so long. */
  lock?: LockRule | undefined;
  /** Encryption by the server, with keys that the server has. */
  encryption?: { kind: "AES256" | "aws:kms"; keyId?: string | undefined } | undefined;
  tags?: Readonly<Record<string, string>> | undefined;
  uploadBytesPerSecond?: number | undefined;
  /** Objects on their way at one time. */
  parallelUploads?: number | undefined;
}

export type LockMode = "governance" | "compliance";

export interface LockRule {
  mode: LockMode;
  /** What a backup needs stays at least for so long after it, and at most by `LOCK_SLACK` longer. */
  retainMs: number;
}

/** So much later than it must an object be let go, that it is not extended for every backup. */
const LOCK_SLACK = 0.25;

/** Until when an object is locked that is stored, or extended, now. */
export function lockedUntil({ retainMs }: LockRule, now: Date): Date {
  return new Date(now.getTime() + retainMs * (1 + LOCK_SLACK));
}

/**
 * While a chain is gone through, what is locked until then or later stays as it is. Half of the slack: of
 * objects that were stored on one day after another, others would be due on each day.
 */
export function lockedLongEnough({ retainMs }: LockRule, now: Date): Date {
  return new Date(now.getTime() + retainMs * (1 + LOCK_SLACK / 2));
}

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
    lock: lock && isKept ? { mode: lock.mode, until: lockedUntil(lock, now) } : undefined,
  };
}
