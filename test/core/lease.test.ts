import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  decodeLease,
  encodeLease,
  isInForce,
  LEASE_MS,
  type Lease,
  type Leaseholder,
  leaseKey,
  leaseNumberOf,
  leasePrefix,
} from "../../src/core/lease.ts";

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const TAG = "a".repeat(32);
const NOW = Date.parse("2026-11-22T12:00:00Z");
const MINUTE = 60_000;

const holder: Leaseholder = {
  holder: "1".repeat(32),
  machine: "machine",
  hostName: "web-1",
  bootId: "boot",
  lockFile: "1:2",
  pid: 3,
  process: "three",
};
const stranger: Leaseholder = { ...holder, holder: "2".repeat(32), machine: "another" };

/** Taken `agoMs` before NOW, by a clock that is `aheadMs` ahead of ours. */
function lease(agoMs: number, fields: Partial<Lease> = {}, aheadMs = 0): Lease {
  const acquiredAt = new Date(NOW - agoMs + aheadMs).toISOString();
  const expiresAt = new Date(NOW - agoMs + aheadMs + LEASE_MS).toISOString();
  return { ...holder, acquiredAt, expiresAt, released: false, ...fields };
}

const holds = (it: Lease, asking = stranger, hasEnded = (_: { process: string }) => false) =>
  isInForce(it, { holder: asking, now: new Date(NOW), hasEnded });

describe("a lease", () => {
  test("holds until it ends, and a minute more for clocks that differ", () => {
    expect(holds(lease(0))).toBe(true);
    expect(holds(lease(LEASE_MS + MINUTE - 1))).toBe(true);
    expect(holds(lease(LEASE_MS + MINUTE))).toBe(false);
  });

  test("of a clock that is a little wrong holds, one that is far ahead keeps nobody out", () => {
    for (const aheadMs of [-MINUTE, MINUTE]) expect(holds(lease(0, {}, aheadMs))).toBe(true);
    expect(holds(lease(0, {}, MINUTE + 1))).toBe(false);
    expect(holds(lease(0, {}, 365 * 24 * 60 * MINUTE))).toBe(false);
  });

  test("that is released, or our own, keeps us from nothing", () => {
    expect(holds(lease(0, { released: true }))).toBe(false);
    expect(holds(lease(0), { ...stranger, holder: holder.holder })).toBe(false);
  });

  test("of an earlier process on this machine is over: its lock is ours now", () => {
    const next = { ...holder, holder: stranger.holder };
    expect(holds(lease(0), { ...next, pid: 77 })).toBe(false);
    expect(holds(lease(0), { ...next, bootId: "the next boot" })).toBe(false);
    expect(holds(lease(0), { ...next, lockFile: "1:3" })).toBe(true);
    expect(holds(lease(0), { ...next, machine: "a clone" })).toBe(true);
  });

  test("is over when its process is known to have ended, on this machine and in this boot", () => {
    const next = { ...holder, holder: stranger.holder, lockFile: "1:3" };
    const threeHasEnded = ({ process }: { process: string }) => process === "three";
    expect(holds(lease(0), next, threeHasEnded)).toBe(false);
    expect(holds(lease(0, { process: "four" }), next, threeHasEnded)).toBe(true);
    expect(holds(lease(0), { ...next, machine: "another" }, threeHasEnded)).toBe(true);
  });

  test("comes back as it was stored, and nothing else passes for one", () => {
    const object = leaseKey(TAG, 1);
    const bytes = encodeLease(lease(0), sha256);
    expect(decodeLease({ object, bytes }, sha256)).toEqual(lease(0));
    const cut = { object, bytes: bytes.slice(0, -1) };
    expect(() => decodeLease(cut, sha256)).toThrow(
      expect.objectContaining({ code: "CORRUPT_DATA" }),
    );
    expect(() => encodeLease({ ...lease(0), holder: "me" }, sha256)).toThrow();
  });

  test("stands in a list before all that it replaces", () => {
    const number = fc.integer({ min: 1, max: 9_999_999_998 });
    fc.assert(
      fc.property(number, number, (one, other) => {
        const keys = [leaseKey(TAG, one), leaseKey(TAG, other)];
        const [first = ""] = keys.toSorted();
        expect(leaseNumberOf(first)).toBe(Math.max(one, other));
        expect(first.startsWith(leasePrefix(TAG))).toBe(true);
      }),
    );
    expect(leaseNumberOf(`${leasePrefix(TAG)}7`)).toBeUndefined();
  });
});
