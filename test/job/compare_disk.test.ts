import { env } from "node:process";
import { describe, expect, test } from "vitest";
import { BlockSet } from "../../src/core/block_set.ts";
import { blocksIn, ComparedDisk, setOf } from "../support/compared_disk.ts";
import { type Random, seededRandom } from "../support/random.ts";

const BY_DIGESTS = "compared by digests";
const WITH_REPOSITORY = "compared with the repository";
const BY_BOTH = "compared by digests and with the repository";

/** Three pages and a part of one. */
const BLOCKS = 1700;
const LIVES = env["IBACKUP_LONG"] === "1" ? 200 : 12;
const STEPS = 40;

/** @returns How it was compared. */
async function expectAsByteForByte(disk: ComparedDisk, how = { scan: false }): Promise<string> {
  const comparison = await disk.compare(how);
  expect(blocksIn(comparison.different)).toEqual(disk.differences());
  return comparison.how;
}

/** Random content, zeroes, or what was there before. */
function scribble(disk: ComparedDisk, random: Random, past: Uint8Array[]): void {
  const older = past[random.below(past.length)];
  const isRun = random.below(4) === 0;
  let block = random.below(disk.blockCount);
  for (let i = isRun ? random.below(600) : random.below(20); i >= 0; i--) {
    block = isRun ? (block + 1) % disk.blockCount : random.below(disk.blockCount);
    const [start, end] = [block * 4096, (block + 1) * 4096];
    const kind = random.below(3);
    if (kind === 0) disk.block(block).set(random.bytes(4096));
    else if (kind === 1 || !older || older.length < end) disk.block(block).fill(0);
    else disk.block(block).set(older.subarray(start, end));
  }
}

async function base(random: Random): Promise<ComparedDisk> {
  const disk = new ComparedDisk(BLOCKS, random);
  for (let block = 0; block < BLOCKS; block++) {
    if (block < 900 || block > 1600) disk.block(block).set(random.bytes(4096));
  }
  await disk.flush([BlockSet.full(BLOCKS)]);
  return disk;
}

/** What changed and some that did not, and some of that once more, as passes read it. */
async function flushTrusted(disk: ComparedDisk, random: Random): Promise<void> {
  const first = disk.differences();
  for (let i = random.below(10); i > 0; i--) first.push(random.below(disk.blockCount));
  const again = first.filter(() => random.below(4) === 0);
  await disk.flush([first, again].map((blocks) => setOf(disk.blockCount, blocks)));
}

describe("compareWithParent()", () => {
  test("reads nothing from the repository's packs when the digests are there", async () => {
    const random = seededRandom("by digests", 1);
    const disk = await base(random);
    scribble(disk, random, []);
    await flushTrusted(disk, random);
    const packs = [...disk.store.objects.keys()].filter((key) => key.startsWith("packs/"));
    expect(packs.length).toBeGreaterThan(0);
    for (const key of packs) disk.store.objects.delete(key);
    scribble(disk, random, []);
    expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
  });

  test("takes down the digests while it compares with the repository", async () => {
    const random = seededRandom("rebuilt", 2);
    const disk = await base(random);
    for (const path of disk.files.paths) disk.files.remove(path);
    scribble(disk, random, []);
    expect(await expectAsByteForByte(disk)).toBe(WITH_REPOSITORY);
    expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
  });

  test("asks the repository only about what is damaged", async () => {
    const random = seededRandom("damaged", 3);
    const disk = await base(random);
    const path = digestPath(disk);
    const bytes = disk.files.bytesOf(path);
    bytes[bytes.length - 1] = (bytes[bytes.length - 1] as number) ^ 1;
    expect(await expectAsByteForByte(disk)).toBe(BY_BOTH);
    expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
  });

  test("never relies on digests for a scan: what the store has lost is stored again", async () => {
    const random = seededRandom("scan", 4);
    const disk = await base(random);
    expect(await expectAsByteForByte(disk, { scan: true })).toBe(WITH_REPOSITORY);
    for (const key of disk.store.objects.keys()) {
      if (key.startsWith("packs/")) disk.store.objects.delete(key);
    }
    const { different } = await disk.compare({ scan: true });
    const withData = blocksIn(different);
    expect(withData.length).toBeGreaterThan(900);
    expect(withData).not.toContain(1000);
  });

  test("finds a disk that has grown or shrunk", async () => {
    const random = seededRandom("resized", 5);
    const disk = await base(random);
    for (const blockCount of [BLOCKS + 700, BLOCKS + 701, 512, 511, 2000]) {
      disk.resize(blockCount);
      expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
      await disk.flush([setOf(blockCount, disk.differences())]);
      expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
    }
  });

  test("writes to the cache as much as changed, whatever the size of the disk", async () => {
    const random = seededRandom("cost", 6);
    const disk = await base(random);
    disk.files.bytesWritten = 0;
    disk.block(5).set(random.bytes(4096));
    await disk.flush([setOf(BLOCKS, [5])]);
    // A page, its part of the table, the header.
    expect(disk.files.bytesWritten).toBeLessThanOrEqual(4096 + 4096 + 128);
  });

  for (const isLast of [false, true]) {
    const what = isLast ? "is killed" : "fails";
    test(`is right after a flush whose cache ${what} at any change`, {
      timeout: 300_000,
    }, async () => {
      const random = seededRandom(`cache that ${what}`);
      for (const kind of ["base", "few", "many", "resized"]) {
        for (let nth = 1; ; nth++) {
          const disk = await base(random);
          const before = disk.bytes.slice();
          scribble(disk, random, []);
          if (kind === "resized") disk.resize(BLOCKS - 300);
          const blocks =
            kind === "few" ? disk.differences() : blocksIn(BlockSet.full(disk.blockCount));
          disk.files.failAt = disk.files.changes + nth;
          disk.files.isLast = isLast;
          await disk.flush([setOf(disk.blockCount, blocks)], { isBase: kind === "base" });
          const isFired = disk.files.changes >= disk.files.failAt;
          disk.files.failAt = Number.POSITIVE_INFINITY;
          if (isLast && random.below(2) === 0) disk.files.cutPower(random);
          // What the digests of before would take for unchanged.
          disk.bytes.set(before.subarray(0, disk.bytes.length));
          const how = await expectAsByteForByte(disk);
          expect(disk.dropped.length > 0).toBe(isFired);
          if (!isFired) {
            expect(how).toBe(BY_DIGESTS);
            expect(nth).toBeGreaterThan(3);
            break;
          }
          expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
        }
      }
    });
  }

  // What a flush has recorded must not be forgotten: the parent's digest would stand for it.
  test("drops the digests when those of a running flush are damaged", async () => {
    const random = seededRandom("draft", 8);
    const disk = await base(random);
    const before = disk.bytes.slice();
    for (const block of [0, 600, 1200]) disk.block(block).set(random.bytes(4096));
    const changed = setOf(BLOCKS, disk.differences());
    await disk.flush([changed], {
      beforeCommit: () => {
        const [draft] = disk.files.paths.filter((path) => /\/digests\/.*\./.test(path));
        disk.files.put(draft as string, disk.files.bytesOf(draft as string).fill(0));
      },
    });
    expect(disk.dropped).toEqual([expect.stringContaining("can be read again")]);
    disk.bytes.set(before);
    expect(await expectAsByteForByte(disk)).toBe(WITH_REPOSITORY);
  });

  // Methodology: all mixtures of two states of the file, as lost writes would leave them, while the
  // disk holds what the older state, or a page of nothing, would take for unchanged.
  test("takes no mixture of old, new and lost pages for the truth", async () => {
    const disk = await base(seededRandom("mixtures", 7));
    const path = digestPath(disk);
    const older = { disk: disk.bytes.slice(), file: disk.files.bytesOf(path).slice() };
    for (let block = 3; block < BLOCKS; block += 50) disk.block(block).fill(block & 0x7f);
    await disk.flush([setOf(BLOCKS, disk.differences())]);
    const file = disk.files.bytesOf(path).slice();
    expect(file.length).toBe(older.file.length);
    const lost = { disk: new Uint8Array(disk.bytes.length), file: new Uint8Array(file.length) };

    const pages = Array.from({ length: Math.ceil(file.length / 4096) }, (_, page) => page * 4096);
    expect(pages.length).toBe(6);
    const headerEnds = Array.from({ length: 16 }, (_, part) => part * 8);
    for (const other of [older, lost]) {
      const mixtures: Uint8Array[] = [];
      for (let subset = 1; subset < 2 ** pages.length; subset++) {
        const mixture = file.slice();
        for (const [index, at] of pages.entries()) {
          if ((subset >>> index) & 1) mixture.set(other.file.subarray(at, at + 4096), at);
        }
        mixtures.push(mixture);
      }
      for (const end of headerEnds) {
        const mixture = other.file.slice();
        mixture.set(file.subarray(0, end));
        mixtures.push(mixture);
      }
      disk.bytes = other.disk;
      for (const mixture of mixtures) {
        disk.files.put(path, mixture);
        await expectAsByteForByte(disk);
      }
    }
  });

  // Methodology: a disk lives through random writes, flushes, deaths and damage of the cache; after
  // each the comparison has to find what a byte-for-byte one finds.
  test(`equals a byte-for-byte comparison, ${LIVES} x ${STEPS} steps`, {
    timeout: 900_000,
  }, async () => {
    const random = seededRandom("digests");
    const seen = new Map<string, number>();
    for (let life = 0; life < LIVES; life++) {
      const disk = await base(random);
      const past = [disk.bytes.slice()];
      const copies = [...copiesOf(disk)];
      for (let step = 0; step < STEPS; step++) {
        await takeStep(disk, random, { past, copies });
        if (random.below(3) > 0) continue;
        const how = await expectAsByteForByte(disk);
        seen.set(how, (seen.get(how) ?? 0) + 1);
        // Those that the comparison has rebuilt.
        expect(await expectAsByteForByte(disk)).toBe(BY_DIGESTS);
      }
    }
    for (const how of [BY_DIGESTS, WITH_REPOSITORY, BY_BOTH]) {
      expect(seen.get(how)).toBeGreaterThan(3);
    }
  });
});

interface Memory {
  past: Uint8Array[];
  copies: [path: string, bytes: Uint8Array][];
}

async function takeStep(disk: ComparedDisk, random: Random, memory: Memory): Promise<void> {
  const { past, copies } = memory;
  const kind = random.below(10);
  if (kind < 4) scribble(disk, random, past);
  else if (kind === 4) damage(disk, random, copies);
  else if (kind === 5) disk.resize(1 + random.below(2 * BLOCKS));
  else {
    if (kind === 6) {
      disk.files.failAt = disk.files.changes + 1 + random.below(16);
      disk.files.isLast = random.below(2) === 0;
    }
    const isResized = disk.saved.length !== disk.bytes.length;
    if (kind === 7)
      await disk.flush([BlockSet.full(disk.blockCount)], { isBase: random.below(2) === 0 });
    else if (isResized) await disk.flush([setOf(disk.blockCount, disk.differences())]);
    else await flushTrusted(disk, random);
    disk.files.failAt = Number.POSITIVE_INFINITY;
    if (random.below(3) === 0) disk.files.cutPower(random);
    past.push(disk.bytes.slice());
    copies.push(...copiesOf(disk));
  }
}

function* copiesOf(disk: ComparedDisk): Generator<[string, Uint8Array]> {
  for (const path of disk.files.paths) yield [path, disk.files.bytesOf(path).slice()];
}

function digestPath(disk: ComparedDisk): string {
  const path = disk.files.paths.find((each) => /\/digests\/[^.]*$/.test(each));
  expect(path).toBeDefined();
  return path as string;
}

/** One thing that may happen to a file: gone, cut, bits flipped, zeroed, old, or old in part. */
function damage(disk: ComparedDisk, random: Random, copies: Memory["copies"]): void {
  const paths = disk.files.paths;
  const path = paths[random.below(paths.length)];
  if (path === undefined) return;
  const bytes = disk.files.bytesOf(path).slice();
  const [, older = bytes] = copies.filter(([from]) => from === path).at(-1 - random.below(3)) ?? [];
  const page = 4096 * random.below(Math.ceil(bytes.length / 4096));
  switch (random.below(6)) {
    case 0:
      disk.files.remove(path);
      return;
    case 1:
      disk.files.put(path, bytes.slice(0, random.below(bytes.length)));
      return;
    case 2: {
      const at = random.below(bytes.length);
      bytes[at] = (bytes[at] as number) ^ (1 << random.below(8));
      break;
    }
    case 3:
      bytes.fill(0, page, page + 4096);
      break;
    case 4:
      disk.files.put(path, older.slice());
      return;
    default:
      bytes.set(older.subarray(page, page + 4096).subarray(0, bytes.length - page), page);
  }
  disk.files.put(path, bytes);
}
