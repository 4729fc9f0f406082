import { describe, expect, test } from "vitest";
import { LEASE_MS, type Leaseholder, leaseKey, leasePrefix } from "../../src/core/lease.ts";
import { IbackupError } from "../../src/errors.ts";
import { acquireLease, type HeldLease, type LeaseAnswer } from "../../src/repo/lease.ts";
import type { Store } from "../../src/store/store.ts";
import { everyInterleaving, Gate } from "../support/gated_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const TAG = "b".repeat(32);

class Clock {
  nowMs = Date.parse("2026-11-22T12:00:00Z");
  readonly now = () => new Date(this.nowMs);
}

function holderOn(machine: string, fields: Partial<Leaseholder> = {}): Leaseholder {
  const holder = Math.floor(holders++).toString(16).padStart(32, "0");
  const base = { hostName: machine, bootId: "boot", lockFile: "1:2", pid: 7, process: "" };
  return { holder, machine, ...base, ...fields };
}
let holders = 1;

const hasEnded = () => false;

function acquire(store: Store, machine: string, clock = new Clock()): Promise<LeaseAnswer> {
  const request = { diskTag: TAG, holder: holderOn(machine), now: clock.now, hasEnded };
  return acquireLease(store, request);
}

async function mustAcquire(store: Store, machine: string, clock?: Clock): Promise<HeldLease> {
  const answer = await acquire(store, machine, clock);
  if ("held" in answer) return answer.held;
  throw new Error(`held by ${answer.heldBy.machine}`);
}

/** Lets nothing be removed, as the key of an append-only store does. */
class AppendOnlyStore extends MemoryStore {
  override async delete(key: string): Promise<void> {
    throw new IbackupError("STORE_DENIED", `Cannot remove "${key}"`, { why: "test", fix: "none" });
  }
}

describe("acquireLease()", () => {
  test("gives a lease to one, and tells others who has it", async () => {
    const store = new MemoryStore();
    const held = await mustAcquire(store, "one");
    expect(await acquire(store, "two")).toMatchObject({
      heldBy: { machine: "one", hostName: "one", pid: 7, released: false },
    });
    await held.release();
    expect([...store.objects.keys()]).toEqual([]);
    await mustAcquire(store, "two");
  });

  test("keeps leases of different disks apart", async () => {
    const store = new MemoryStore();
    await mustAcquire(store, "one");
    const holder = holderOn("two");
    const answer = await acquireLease(store, {
      diskTag: "c".repeat(32),
      holder,
      now: new Clock().now,
      hasEnded,
    });
    expect(answer).toHaveProperty("held");
  });

  test("takes over from a holder that died: at once on its machine, elsewhere when time is up", async () => {
    const store = new MemoryStore();
    const clock = new Clock();
    await mustAcquire(store, "one", clock);
    await mustAcquire(store, "one", clock);
    expect(await acquire(store, "two", clock)).toHaveProperty("heldBy");
    clock.nowMs += LEASE_MS + 60_000;
    const held = await mustAcquire(store, "two", clock);
    expect(store.objects.size).toBe(3);
    await held.release();
    // What the second one had left of the first is nobody's.
    clock.nowMs += LEASE_MS + 60_000;
    await (await mustAcquire(store, "three", clock)).release();
    expect(store.objects.size).toBe(0);
  });

  test("is kept from nothing by a lease that cannot be read", async () => {
    const store = new MemoryStore();
    await mustAcquire(store, "one");
    store.objects.set(leaseKey(TAG, 1), new TextEncoder().encode("?"));
    const held = await mustAcquire(store, "two");
    expect(await acquire(store, "three")).toHaveProperty("heldBy");
    await held.release();
    expect(store.objects.size).toBe(0);
  });
});

describe("a lease that is held", () => {
  test("goes on for as long as it is renewed, and leaves no trail", async () => {
    const store = new MemoryStore();
    const clock = new Clock();
    const held = await mustAcquire(store, "one", clock);
    for (let i = 0; i < 10; i++) {
      clock.nowMs += LEASE_MS - 1;
      expect(await held.renew()).toBe(true);
      expect(await acquire(store, "two", clock)).toHaveProperty("heldBy");
      // The first one tells gc when it began.
      expect([...store.objects.keys()]).toEqual([leaseKey(TAG, 1), leaseKey(TAG, i + 2)]);
    }
    await held.release();
    expect(store.objects.size).toBe(0);
  });

  test("is lost when another one took it over, and then takes nothing away from that", async () => {
    const store = new MemoryStore();
    const clock = new Clock();
    const slow = await mustAcquire(store, "one", clock);
    clock.nowMs += LEASE_MS + 60_000;
    await mustAcquire(store, "two", clock);
    expect(await slow.renew()).toBe(false);
    await slow.release();
    expect(await acquire(store, "three", clock)).toMatchObject({ heldBy: { machine: "two" } });
  });

  test("is given back by a last object where nothing may be removed", async () => {
    const store = new AppendOnlyStore();
    const clock = new Clock();
    for (const machine of ["one", "two", "three"]) {
      const held = await mustAcquire(store, machine, clock);
      expect(await held.renew()).toBe(true);
      expect(await acquire(store, "another", clock)).toHaveProperty("heldBy");
      await held.release();
    }
    expect(store.objects.size).toBe(9);
    const calls = countCalls(store);
    await mustAcquire(calls.store, "four", clock);
    // However many there are, only the newest is looked at.
    expect(calls.made()).toEqual(["list", "get", "putIfAbsent"]);
  });

  test("costs a list, a put and a removal", async () => {
    const { store, made } = countCalls(new MemoryStore());
    await (await mustAcquire(store, "one")).release();
    expect(made()).toEqual(["list", "putIfAbsent", "delete"]);
  });
});

test("of two who ask at once, never do both have it", async () => {
  const ways = await everyInterleaving(async (choose) => {
    const store = new MemoryStore();
    const gate = new Gate();
    let holding = 0;
    let turns = 0;
    for (const machine of ["one", "two"]) {
      gate.open(store, async (gated) => {
        const answer = await acquire(gated, machine);
        if ("heldBy" in answer) return;
        turns += 1;
        expect(++holding).toBe(1);
        // Whatever is done with it.
        await gated.head("packs");
        holding -= 1;
        await answer.held.release();
      });
    }
    await gate.run(choose);
    expect(turns).toBeGreaterThan(0);
    expect([...store.objects.keys()].filter((key) => key.startsWith(leasePrefix(TAG)))).toEqual([]);
  });
  expect(ways).toBeGreaterThan(30);
});

function countCalls(store: Store): { store: Store; made: () => string[] } {
  const calls: string[] = [];
  const counting = new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== "function") return value;
      calls.push(String(name));
      return value.bind(target) as unknown;
    },
  });
  return { store: counting, made: () => calls };
}
