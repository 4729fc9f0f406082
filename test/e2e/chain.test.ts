/** A base and thirty incrementals: every one of them comes back, and nothing is fetched twice. */
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import { readBlocks } from "../../src/repo/block_reader.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import type { ByteRange } from "../../src/store/store.ts";
import { digestOf, run, shell } from "../support/machine.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { canTrack, Site } from "../support/site.ts";

const SIZE_BYTES = (24 << 20) + 512;
const INCREMENTALS = 30;

describe.runIf(canTrack())("a base and 30 incrementals", () => {
  let site: Site;
  let target: string;
  const taken: { backupId: string; digest: string }[] = [];

  beforeAll(() => {
    site = new Site();
    site.init();
    const random = seededRandom("chain");
    const source = site.machine.loopDisk("source", SIZE_BYTES);
    target = site.machine.loopDisk("target", SIZE_BYTES);
    shell(`head -c 12M /dev/urandom | dd of=${source} bs=1M oflag=direct status=none`);
    site.must("track", "start", source);
    for (let number = 0; number <= INCREMENTALS; number++) {
      if (number > 0) change(source, random);
      const flushed = site.flush(source);
      expect(flushed).toMatchObject({
        gapCheck: { verdict: number === 0 ? "base" : "trusted" },
        consistency: "quiet",
        parentId: taken.at(-1)?.backupId ?? null,
      });
      taken.push({ backupId: flushed.backupId, digest: digestOf(source) });
    }
  });
  afterAll(() => site.close());

  test("all differ, so that none can be taken for another", () => {
    expect(new Set(taken.map(({ digest }) => digest)).size).toBe(INCREMENTALS + 1);
  });

  test.each([
    { options: [], every: 1 },
    { options: ["--replay"], every: 1 },
    { options: ["--changed-only"], every: 5 },
    { options: ["--changed-only", "--replay"], every: 10 },
  ])("are restored right, one in $every, with $options", ({ options, every }) => {
    // From the newest to the base: what the target held before must not matter.
    for (const { backupId, digest } of taken.filter((_, i) => i % every === 0).reverse()) {
      site.restore(backupId, target, ...options);
      expect({ backupId, digest: digestOf(target) }).toEqual({ backupId, digest });
    }
  });

  test("are restored to an image file and to standard output as well", () => {
    const { backupId, digest } = taken[17] ?? { backupId: "", digest: "" };
    const image = site.machine.path("image");
    site.restore(backupId, image);
    expect(digestOf(image)).toBe(digest);
    const piped = site.machine.path("piped");
    shell(`${site.command} restore ${backupId} --target - > '${piped}'`);
    expect(digestOf(piped)).toBe(digest);
  });

  test("give the last one with each stored byte fetched once at most", async () => {
    const last = taken.at(-1)?.backupId ?? "";
    const store = new CountingStore(new URL(site.repo).pathname);
    const repository = await openRepository(store);
    const chain = chainOf(await repository.manifests(), last);
    expect(chain.length).toBe(INCREMENTALS + 1);
    const seen = new Uint8Array(Math.ceil(SIZE_BYTES / 4096));
    for await (const { firstBlock, blockCount } of readBlocks(repository, chain)) {
      for (let i = 0; i < blockCount; i++) seen[firstBlock + i] = (seen[firstBlock + i] ?? 0) + 1;
    }
    expect(seen.every((count) => count === 1)).toBe(true);
    expect(store.fetchedTwice()).toEqual([]);

    const restored = site.restore(last, target);
    expect(restored.requests).toBe(store.ranges.length);
    expect(restored.bytesFetched).toBe(store.ranges.reduce((sum, { length }) => sum + length, 0));
    const dataBytes = seen.length * 4096;
    writeFileSync(2, `last of 31: ${restored.requests} requests, ${restored.bytesFetched} bytes\n`);
    expect(restored.bytesFetched).toBeLessThan(dataBytes * 2);
  });
});

/** Counts what is read of packs. */
class CountingStore extends DirectoryStore {
  readonly ranges: ({ key: string } & ByteRange)[] = [];

  override async getRange(key: string, range: ByteRange): Promise<Uint8Array | undefined> {
    if (key.startsWith("packs/")) this.ranges.push({ key, ...range });
    return await super.getRange(key, range);
  }

  fetchedTwice(): string[] {
    const sorted = this.ranges.toSorted(
      (a, b) => a.key.localeCompare(b.key) || a.offset - b.offset,
    );
    return sorted.flatMap(({ key, offset }, i) => {
      const previous = sorted[i - 1];
      const overlaps = previous?.key === key && previous.offset + previous.length > offset;
      return overlaps ? [`${key} at ${offset}`] : [];
    });
  }
}

/** Some writes, a run of zeroes, a discard, in places that often meet those of before. */
function change(device: string, random: Random): void {
  const dd = (from: string, count: number): void => {
    const seek = random.below(SIZE_BYTES / 4096 - 300);
    run(
      ...(["dd", `if=${from}`, `of=${device}`, "bs=4096", `seek=${seek}`] as const),
      ...[`count=${count}`, "oflag=direct", "conv=notrunc", "status=none"],
    );
  };
  for (let i = 0; i < 6; i++) dd("/dev/urandom", 1 + random.below(200));
  dd("/dev/zero", 1 + random.below(300));
  const at = 4096 * random.below(5000);
  run("blkdiscard", "-o", String(at), "-l", String(4096 * (1 + random.below(100))), device);
  shell(
    `head -c 512 /dev/urandom | dd of=${device} bs=512 seek=${SIZE_BYTES / 512 - 1} oflag=direct status=none`,
  );
}
