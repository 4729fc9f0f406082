/**
 * The gap check: was every write since the parent seen?
 *
 * Pure. It trusts the dirty bitmap only where every single fact says so; anything else means that
 * the whole disk is read and compared. Never a silent guess: the reason goes into the manifest.
 */

/** What is known of a tracking session when dirty blocks were collected. */
export interface TrackingFacts {
  bootId: string;
  /** The session's UUID. */
  session: string;
  /** Differs when another medium took the name. */
  diskSequence: number | undefined;
  /** By reason; any that grew means that a written block may be missing. */
  taints: Readonly<Record<string, number>>;
  /** True with hook `block`; hook `buffer` alone misses what bypasses the buffer cache. */
  seesEveryWrite: boolean;
}

/** What this machine remembers of a repository's newest backup of the disk. */
export interface PendingFacts extends Omit<TrackingFacts, "seesEveryWrite"> {
  /** The backup whose epoch the pending set continues. */
  parentId: string | null;
  sizeBytes: number;
  /** True when tracking was stopped for a while since, and the kernel counted no write then. */
  bridged: boolean;
}

export interface ParentFacts {
  backupId: string;
  sizeBytes: number;
  blockBytes: number;
  /** False when another disk has taken the name. */
  identityMatches: boolean;
}

export interface GapFacts {
  /** The newest backup of the disk in the repository. */
  parent: ParentFacts | undefined;
  /** Why there is no parent although there are backups. */
  brokenChain?: string | undefined;
  sizeBytes: number;
  blockBytes: number;
  /** Undefined when the disk is not tracked. */
  tracking: TrackingFacts | undefined;
  /** Why there is tracking that is of no use. */
  brokenTracking?: string | undefined;
  /** Undefined when this machine has no pending set for the repository. */
  pending: PendingFacts | undefined;
  asked: { base: boolean; scan: boolean };
}

export interface GapVerdict {
  verdict: "base" | "trusted" | "compared";
  reason: string;
}

export function checkGap(facts: GapFacts): GapVerdict {
  const { parent, asked } = facts;
  if (asked.base) return { verdict: "base", reason: "a base was asked for" };
  if (parent === undefined) {
    const reason = facts.brokenChain ?? "the repository has no backup of this disk";
    return { verdict: "base", reason };
  }
  if (parent.blockBytes !== facts.blockBytes) {
    const reason = `blocks have ${facts.blockBytes} bytes now, not ${parent.blockBytes}`;
    return { verdict: "base", reason };
  }
  const doubt = asked.scan ? "a scan was asked for" : doubtOf(facts, parent);
  if (doubt !== undefined) return { verdict: "compared", reason: doubt };
  const reason = facts.pending?.bridged
    ? "every write since the parent was seen; the kernel counted none while tracking was stopped"
    : "every write since the parent was seen";
  return { verdict: "trusted", reason };
}

function doubtOf(
  { tracking, brokenTracking, pending, sizeBytes }: GapFacts,
  parent: ParentFacts,
): string | undefined {
  if (!parent.identityMatches) return "another disk has taken this name";
  if (parent.sizeBytes !== sizeBytes) {
    return `the disk was resized from ${parent.sizeBytes} to ${sizeBytes} bytes`;
  }
  if (tracking === undefined) {
    return brokenTracking ?? "the disk is not tracked, or not from this runtime folder";
  }
  if (!tracking.seesEveryWrite) return "hook buffer alone does not see every write";
  if (pending === undefined) return "this machine did not see the writes since the parent";
  if (pending.sizeBytes !== sizeBytes) return "the disk was resized";
  if (pending.bootId !== tracking.bootId) return "the machine was started anew since the parent";
  if (pending.session !== tracking.session) return "tracking was started anew since the parent";
  if (pending.diskSequence !== tracking.diskSequence) return "another medium is in the device";
  if (pending.parentId !== parent.backupId) {
    return `the newest backup is ${parent.backupId}, not the one this machine made last`;
  }
  const taints = taintsBetween(pending.taints, tracking.taints);
  const first = taints[0];
  return first && `the dirty blocks are tainted: ${first.reason} (${first.count})`;
}

/** Which taints appeared from one look to the next. */
export function taintsBetween(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): { reason: string; count: number }[] {
  return Object.entries(after)
    .map(([reason, count]) => ({ reason, count: count - (before[reason] ?? 0) }))
    .filter(({ count }) => count !== 0);
}
