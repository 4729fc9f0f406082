/** Two repositories of one disk, flushed in turn, with writes between; the store fails now and then. */
import { randomBytes, randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { IbackupError } from "../../src/errors.ts";
import { type FlushResult, flushDevice } from "../../src/job/flush.ts";
import { startTracking, stopTracking } from "../../src/job/track.ts";
import { createRepository, openRepository } from "../../src/repo/repository.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import type { Store } from "../../src/store/store.ts";
import { testContext } from "../support/context.ts";
import { type FaultPlan, FaultStore } from "../support/fault_store.ts";
import { digestOf, run, shell } from "../support/machine.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = 48 << 20;
const ROUNDS = 10;

/** A repository, and what the disk held when each of its backups was taken. */
interface Place {
  folder: string;
  digests: Map<string, string>;
}

describe.runIf(canTrack())("two repositories of one disk", () => {
  const pins = `ibackup-test-two-${randomBytes(4).toString("hex")}`;
  let site: Site;
  let source: string;
  beforeEach(() => {
    site = new Site();
    source = site.machine.loopDisk("source", SIZE_BYTES);
  });
  afterEach(async () => {
    try {
      await stopTracking(contextOf(await newPlaceStore("unused")), []);
    } finally {
      site.close();
    }
  });

  test(`are both right, ${ROUNDS} times in turn, though puts fail now and then`, async () => {
    const random = seededRandom("two repositories");
    shell(`head -c 24M /dev/urandom | dd of=${source} bs=4M oflag=direct status=none`);
    const places = await Promise.all(["one", "two"].map(newPlace));
    await startTracking(contextOf(await newPlaceStore("unused")), [source], ["block"]);
    let failed = 0;
    for (let round = 0; round < ROUNDS; round++) {
      for (const place of places) {
        change(source, random);
        const isSpoilt = round > 0 && random.below(3) === 0;
        if (!(await flush(place, isSpoilt ? anyFault(random) : undefined))) failed += 1;
      }
    }
    // Whatever chance brought: one that fails for certain, and one after it that does not.
    for (const place of places) {
      change(source, random);
      expect(await flush(place, { ...anyFault(random), nth: 1 })).toBe(false);
      change(source, random);
      expect(await flush(place, undefined)).toBe(true);
    }
    expect(failed).toBeLessThan(ROUNDS * places.length);
    const target = site.machine.loopDisk("target", SIZE_BYTES);
    for (const { folder, digests } of places) {
      site.repo = `file://${folder}`;
      expect(digests.size).toBeGreaterThan(2);
      for (const [backupId, digest] of [...digests].reverse()) {
        site.restore(backupId, target, "--changed-only");
        expect({ backupId, digest: digestOf(target) }).toEqual({ backupId, digest });
      }
    }
  });

  /** @returns Whether it succeeded. A backup may be there all the same. */
  async function flush(place: Place, plan: FaultPlan | undefined): Promise<boolean> {
    const plain = new DirectoryStore(place.folder);
    const digest = digestOf(source);
    let flushed: FlushResult | undefined;
    try {
      const context = contextOf(plan === undefined ? plain : new FaultStore(plain, plan));
      const asked = { base: false, scan: false, consistency: "quiet" } as const;
      flushed = await flushDevice(context, { ...asked, device: source, vmId: "vm" });
    } catch (error) {
      if (!(error instanceof IbackupError) || error.code !== "STORE_UNREACHABLE") throw error;
    }
    if (flushed?.type === "incremental") {
      expect(flushed).toMatchObject({ gapCheck: { verdict: "trusted" }, taints: [] });
    }
    const [newest] = (await (await openRepository(plain)).manifests()).slice(-1);
    const id = newest?.manifest.backupId;
    if (id !== undefined && !place.digests.has(id)) place.digests.set(id, digest);
    return flushed !== undefined;
  }

  function contextOf(store: Store) {
    const context = testContext(site.machine, { repository: undefined as never, pins });
    return {
      ...context,
      openStore: async () => store,
      openRepository: () => openRepository(store),
    };
  }

  async function newPlace(name: string): Promise<Place> {
    return { folder: (await newPlaceStore(name)).url.slice("file://".length), digests: new Map() };
  }

  async function newPlaceStore(name: string): Promise<DirectoryStore> {
    const folder = site.machine.path(name);
    mkdirSync(folder, { recursive: true });
    const store = new DirectoryStore(folder);
    if (name !== "unused")
      await createRepository(store, { id: randomUUID(), createdAt: new Date() });
    return store;
  }
});

/** Of the puts of packs, indexes and the manifest. */
function anyFault(random: Random): FaultPlan {
  const calls = ["put", "putIfAbsent"] as const;
  const fault = random.below(2) === 0 ? "fail" : "fail after";
  return { nth: 1 + random.below(4), fault, calls, onwards: random.below(2) === 0 };
}

function change(device: string, random: Random): void {
  const anywhere = (): number => random.below(SIZE_BYTES / 4096 - 64);
  const dd = "bs=4096 conv=notrunc oflag=direct status=none";
  for (let i = 0; i < 8; i++) {
    const count = 1 + random.below(16);
    shell(`dd if=/dev/urandom of=${device} seek=${anywhere()} count=${count} ${dd}`);
  }
  run("blkdiscard", "-o", String(4096 * anywhere()), "-l", String(4096 * 20), device);
}
