/**
 * A lease: says in a repository that somebody is backing up a disk, and until when.
 *
 * A courtesy. It keeps a second writer from reading and uploading for hours, only to find at the end
 * that another has committed first. Nothing depends on it, nor on the clocks that it is judged by:
 * that only one backup follows another is the doing of the manifest's key.
 *
 * Leases are objects that are written once. Each one replaces those with lower numbers; the number
 * counts down in the key, so that a list begins with the newest.
 */
import { z } from "zod";
import { assert } from "../errors.ts";
import { corruptObject } from "./corrupt.ts";
import { type DocumentKind, decodeDocument, encodeDocument, type Sha256Hex } from "./document.ts";

const KIND: DocumentKind = { name: "lease", version: 1 };
const NUMBER_DIGITS = 10;
const NUMBER_MAX = 10 ** NUMBER_DIGITS - 1;
const LEASE_KEY = /^leases\/[0-9a-f]{32}\/([0-9]{10})$/;

/** How long a lease holds from when it was taken or renewed, and how often it is renewed. */
export const LEASE_MS = 5 * 60_000;
export const RENEW_MS = 60_000;
/** How far the clocks of two machines may differ without anybody losing a lease that is alive. */
const CLOCK_MARGIN_MS = 60_000;

const text = z.string().max(1024);
const instant = z.iso.datetime({ precision: 3 });

const leaseSchema = z.strictObject({
  /** Random; of one flush. */
  holder: z.string().regex(/^[0-9a-f]{32}$/, "is no holder"),
  /** Digest of what stays with a machine, also when it starts anew. */
  machine: text,
  /** For people. */
  hostName: text,
  bootId: text,
  /** Names the lock that the holder has on his machine, within one boot; empty: he has none. */
  lockFile: text,
  pid: z.int().min(0),
  /** Tells the process from others that had or have its pid; within one boot. */
  process: text,
  acquiredAt: instant,
  expiresAt: instant,
  /** True: nobody holds it any more, and none of lower number counts either. */
  released: z.boolean(),
});

export type Lease = z.infer<typeof leaseSchema>;

/** Who wants or has a lease. */
export type Leaseholder = Pick<
  Lease,
  "holder" | "machine" | "hostName" | "bootId" | "lockFile" | "pid" | "process"
>;

/** Of all leases of a disk. */
export function leasePrefix(diskTag: string): string {
  return `leases/${diskTag}/`;
}

/** @param number From 1 on. */
export function leaseKey(diskTag: string, number: number): string {
  assert(number >= 1 && number <= NUMBER_MAX, "leases are counted from 1, in ten digits");
  return leasePrefix(diskTag) + String(NUMBER_MAX - number).padStart(NUMBER_DIGITS, "0");
}

/** The number of a lease; undefined when the key is not that of one. */
export function leaseNumberOf(key: string): number | undefined {
  const [, digits] = LEASE_KEY.exec(key) ?? [];
  return digits === undefined ? undefined : NUMBER_MAX - Number(digits);
}

export function encodeLease(lease: Lease, sha256: Sha256Hex): Uint8Array {
  return encodeDocument(KIND, leaseSchema.parse(lease), sha256);
}

/** @throws IbackupError CORRUPT_DATA, or REPOSITORY_FORMAT for a newer version. */
export function decodeLease(
  stored: { object: string; bytes: Uint8Array },
  sha256: Sha256Hex,
): Lease {
  const parsed = leaseSchema.safeParse(decodeDocument(KIND, stored, sha256));
  if (parsed.success) return parsed.data;
  throw corruptObject(stored.object, z.prettifyError(parsed.error).replaceAll("\n", " "));
}

/** Who asks for a lease. He has the lock of the disk on his machine. */
export interface Asking {
  holder: Leaseholder;
  /** By the clock of his machine. */
  now: Date;
  /** True when a process of his machine and boot is known to be no more. */
  hasEnded(process: Pick<Lease, "pid" | "process">): boolean;
}

/** Whether a lease keeps `asking` from taking the next one. */
export function isInForce(lease: Lease, asking: Asking): boolean {
  if (lease.released || lease.holder === asking.holder.holder) return false;
  if (isOfTheDead(lease, asking)) return false;
  const leftMs = Date.parse(lease.expiresAt) + CLOCK_MARGIN_MS - asking.now.getTime();
  // Nobody is given longer. With clocks so far apart none of them can tell, and a holder that died
  // would keep everybody out until a date that may be years away.
  const isCredible = leftMs <= LEASE_MS + 2 * CLOCK_MARGIN_MS;
  return leftMs > 0 && isCredible;
}

/**
 * True when the holder is known to be dead: he had the lock that `asking` has now, the machine has
 * been started anew since, or it says that his process is no more.
 */
function isOfTheDead(lease: Lease, { holder, hasEnded }: Asking): boolean {
  if (lease.machine !== holder.machine) return false;
  if (lease.bootId !== holder.bootId) return true;
  const isOurLock = lease.lockFile !== "" && lease.lockFile === holder.lockFile;
  return isOurLock || hasEnded(lease);
}
