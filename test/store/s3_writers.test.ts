/** Two writers who want the same key: one gets it, whatever the server makes of conditions. */
import { env } from "node:process";
import { afterEach, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import type { RetryClock } from "../../src/store/retry_clock.ts";
import { openS3Store } from "../../src/store/s3.ts";
import type { Store } from "../../src/store/store.ts";
import { everyInterleaving, Gate } from "../support/gated_store.ts";
import { SmallS3, type SmallS3Options } from "../support/small_s3.ts";
import { bytesOf, listed } from "./contract.ts";

const SERVERS: (SmallS3Options & { fence: string; least: number })[] = [
  { conditions: "honoured", versions: false, fence: "condition", least: 6 },
  { conditions: "honoured", versions: true, fence: "versions", least: 20 },
  { conditions: "ignored", versions: true, fence: "versions", least: 20 },
  { conditions: "unsupported", versions: true, fence: "versions", least: 20 },
  { conditions: "ignored", versions: true, mayDelete: false, fence: "versions", least: 20 },
  { conditions: "ignored", versions: false, fence: "claims", least: 100 },
  { conditions: "unsupported", versions: false, fence: "claims", least: 100 },
];
/** Choices that are all tried; whoever draws back tries again, so they have no end. */
const DEPTH_MAX = env["IBACKUP_LONG"] === undefined ? 8 : 12;

let server: SmallS3 | undefined;
const stores: Store[] = [];
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close();
  await server?.close();
});

/** Pauses take no time; those of the two writers are never the same. */
const clock: RetryClock = { now: () => 0, sleep: async () => {}, random: () => 0.5 };

async function open(options: SmallS3Options): Promise<SmallS3> {
  server = new SmallS3(options);
  for (let writer = 0; writer < 3; writer++) {
    stores.push(openS3Store(await server.listen(), {}, clock));
  }
  // What is found out once is not part of the race.
  for (const store of stores) await store.putIfAbsent(`warm/${stores.indexOf(store)}`, body(9));
  return server;
}

const body = (writer: number): Uint8Array => new Uint8Array(100).fill(writer);

describe.each(SERVERS)(
  "Where conditions are $conditions, versions: $versions, deletes: $mayDelete",
  (options) => {
    test("one of two writers wins, in every order of their requests", async () => {
      const s3 = await open(options);
      let round = 0;
      const ways = await everyInterleaving(async (choose) => {
        const key = `race/${round++}`;
        const gate = new Gate();
        const turns: (() => Promise<void>)[] = [];
        // Heads only spare requests; the read that follows one decides.
        s3.gate = async ({ writer, method }) => {
          if (method !== "HEAD") await turns[writer]?.();
        };
        const won: number[] = [];
        for (const writer of [0, 1]) {
          gate.join(async (turn) => {
            turns[writer] = turn;
            if (await tryToPut(stores[writer]!, key, writer)) won.push(writer);
          });
        }
        await gate.run(choose);
        s3.gate = async () => undefined;
        expect(won).toHaveLength(1);
        // The loser finds what the winner wrote, and so does a reader who knows nothing of the race.
        const reader = stores[2]!;
        expect(await listed(reader, key)).toEqual([{ key, sizeBytes: 100 }]);
        for (const store of stores)
          expect(new Set(await bytesOf(store, key))).toEqual(new Set(won));
        // And nobody comes later.
        expect(await stores[0]!.putIfAbsent(key, body(7))).toBe(false);
        expect(await stores[1]!.putIfAbsent(key, body(7))).toBe(false);
      }, DEPTH_MAX);
      expect(ways).toBeGreaterThanOrEqual(options.least);
      const claims = [...s3.objects].filter(
        ([key, found]) => key.startsWith("claims/") && found[0],
      );
      expect(claims).toEqual([]);
    });

    test("says so", async () => {
      await open(options);
      expect(await stores[0]!.probe()).toMatchObject({
        conditionalPut: options.conditions,
        fence: options.fence,
        versioning: options.versions,
      });
    });

    test("knows its own object when a request was repeated on its way", async () => {
      const s3 = await open(options);
      let isRepeated = false;
      s3.gate = async ({ method, key }) => {
        if (method !== "PUT" || key !== "twice" || isRepeated) return;
        isRepeated = true;
        const id = options.versions ? "0123456789abcdef" : "null";
        s3.objects.set("twice", [{ id, body: body(1), storedAtMs: Date.now() }]);
      };
      expect(await stores[0]!.putIfAbsent("twice", body(1))).toBe(
        options.conditions !== "honoured" || options.versions,
      );
      s3.gate = async () => undefined;
      expect(new Set(await bytesOf(stores[2]!, "twice"))).toEqual(new Set([1]));
    });
  },
);

/** Where claims decide, one who finds another's again and again gives up. */
async function tryToPut(store: Store, key: string, writer: number): Promise<boolean> {
  try {
    return await store.putIfAbsent(key, body(writer));
  } catch (error) {
    if (error instanceof IbackupError && error.code === "LOCKED") return false;
    throw error;
  }
}

describe("Where only claims keep writers apart", () => {
  const CLAIM = "claims/key/00000000000000000000000000000000";

  test("a dead writer's claim keeps others out for half an hour, and no longer", async () => {
    const s3 = await open({ conditions: "ignored", versions: false });
    const minutesAgo = (minutes: number): void => {
      const storedAtMs = Date.now() - minutes * 60_000;
      s3.objects.set(CLAIM, [{ id: "null", body: body(1), storedAtMs }]);
    };
    minutesAgo(29);
    await expect(stores[0]!.putIfAbsent("key", body(1))).rejects.toMatchObject({
      code: "LOCKED",
      why: expect.stringContaining("claims/"),
    });
    minutesAgo(31);
    expect(await stores[0]!.putIfAbsent("key", body(1))).toBe(true);
  });

  test("a writer that stood still with its claim begins anew", async () => {
    const s3 = await open({ conditions: "ignored", versions: false });
    let nowMs = 0;
    const slow = openS3Store(await s3.listen(), {}, { ...clock, now: () => nowMs });
    stores.push(slow);
    let claims = 0;
    s3.gate = async ({ writer, method, key, query }) => {
      if (writer !== 3) return;
      if (method === "PUT" && key.startsWith("claims/")) claims += 1;
      if (query.get("prefix")?.startsWith("claims/") && claims === 1) nowMs += 61_000;
    };
    expect(await slow.putIfAbsent("key", body(1))).toBe(true);
    expect(claims).toBe(2);
  });
});

describe("Where versions are kept", () => {
  test("what was put over an object changes nothing for readers", async () => {
    const s3 = await open({ conditions: "ignored", versions: true });
    expect(await stores[0]!.putIfAbsent("key", body(1))).toBe(true);
    await stores[1]!.put("key", new Uint8Array(500).fill(2));
    const reader = stores[2]!;
    expect(await listed(reader, "key")).toEqual([{ key: "key", sizeBytes: 100 }]);
    expect(await reader.head("key")).toBe(100);
    expect(new Set(await bytesOf(reader, "key"))).toEqual(new Set([1]));
    expect(await reader.getRange("key", { offset: 0, length: 200 })).toEqual(body(1));
    await reader.erase(["key"]);
    expect(s3.objects.get("key")).toEqual([]);
  });

  test("a key that was deleted can be put anew", async () => {
    const s3 = await open({ conditions: "ignored", versions: true });
    let nowMs = 1_000_000;
    s3.now = () => (nowMs += 1000);
    for (let round = 0; round < 3; round++) {
      expect(await stores[0]!.putIfAbsent("key", body(round))).toBe(true);
      expect(await stores[1]!.putIfAbsent("key", body(9))).toBe(false);
      await stores[1]!.delete("key");
      expect(await listed(stores[2]!, "key")).toEqual([]);
    }
    // Whoever put it removes that very version, and leaves no marker.
    expect(await stores[0]!.putIfAbsent("other", body(1))).toBe(true);
    await stores[0]!.delete("other");
    expect(s3.objects.get("other")).toEqual([]);
  });
});
