import { beforeEach, describe, expect, test } from "vitest";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { type VerifyResult, verify } from "../../src/job/verify.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { content, newRepository, takeBackup } from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 300;
const OWN = { firstBlock: 40, blockCount: 20 };

let store: MemoryStore;
let base: StoredManifest;
let child: StoredManifest;
let grandchild: StoredManifest;

beforeEach(async () => {
  store = new MemoryStore();
  const repository = await newRepository(store);
  const disk = { blockCount: BLOCKS };
  const whole = { firstBlock: 0, blockCount: BLOCKS };
  base = await takeBackup(repository, disk, [{ ...whole, bytes: content(BLOCKS, 1) }]);
  child = await takeBackup(repository, { ...disk, parent: base }, [
    { ...OWN, bytes: content(20, 2) },
  ]);
  const last = { firstBlock: 299, blockCount: 1, bytes: content(1, 3) };
  grandchild = await takeBackup(repository, { ...disk, parent: child }, [last]);
});

const idsOf = (...backups: StoredManifest[]) => backups.map(({ manifest }) => manifest.backupId);
const manifestOf = ({ key }: StoredManifest) => key;
const indexOf = ({ manifest }: StoredManifest) => `indexes/${manifest.indexes[0]?.name}`;

async function packOf({ manifest }: StoredManifest): Promise<string> {
  const repository = await openRepository(store);
  const decoded = await repository.indexes.read(manifest, manifest.indexes[0]!);
  const name = decoded.packs[0]?.name ?? "";
  return `packs/${name.slice(0, 2)}/${name}`;
}

async function check(isData: boolean, backups?: string[]): Promise<Omit<VerifyResult, "last">> {
  const repository = await openRepository(store);
  const data = isData ? "all" : "none";
  const { last: _, ...result } = await verify({
    repository,
    data,
    backups,
    progress: SILENT_PROGRESS,
  });
  return result;
}

function flip(key: string, at: number): void {
  const bytes = store.objects.get(key)!.slice();
  bytes[at] = bytes[at]! ^ 4;
  store.objects.set(key, bytes);
}

describe("verify()", () => {
  test("finds nothing wrong with what is right, and reads every byte of data when asked", async () => {
    expect(await check(false)).toEqual({
      backups: 3,
      packs: 3,
      bytesRead: 0,
      problems: [],
      warnings: [],
    });
    const packs = [...store.objects].filter(([key]) => key.startsWith("packs/"));
    const bytesRead = packs.reduce((sum, [, { length }]) => sum + length, 0);
    const whole = { backups: 3, packs: 3, bytesRead, problems: [], warnings: [] };
    expect(await check(true)).toEqual(whole);
  });

  test("reads a share of the packs, another one each time", async () => {
    const repository = await openRepository(store);
    const packs = [...store.objects].filter(([key]) => key.startsWith("packs/"));
    const [largest] = packs.toSorted(([, left], [, right]) => right.length - left.length);
    flip(largest![0], 100);
    const seen = new Set<string>();
    const found: number[] = [];
    let last = "";
    for (let time = 0; time < 6; time++) {
      const data = { share: 0.01, last };
      const result = await verify({ repository, data, progress: SILENT_PROGRESS });
      last = result.last;
      seen.add(last);
      found.push(result.problems.length);
    }
    expect(seen.size).toBeGreaterThan(1);
    expect(new Set(found)).toEqual(new Set([0, 1]));
  });

  test("names a missing pack, the blocks in it, and the backups that need it", async () => {
    const object = await packOf(child);
    store.objects.delete(object);
    const problem = {
      object,
      reason: "it is missing",
      extents: [OWN],
      backups: idsOf(child, grandchild),
    };
    expect((await check(false)).problems).toEqual([problem]);
    expect((await check(true)).problems).toEqual([problem]);
  });

  test("names a cut pack without reading it, and with reading it the blocks that are lost", async () => {
    const object = await packOf(base);
    const { length } = store.objects.get(object)!;
    store.objects.set(object, store.objects.get(object)!.slice(0, length / 2));
    const [quick] = (await check(false)).problems;
    expect(quick).toMatchObject({ object, extents: [{ firstBlock: 0, blockCount: BLOCKS }] });
    const [whole] = (await check(true)).problems;
    expect(whole?.reason).toMatch(/it has \d+ bytes, the index says \d+; its frame at byte \d+/);
    expect(whole?.extents[0]?.firstBlock).toBeGreaterThan(0);
  });

  test("finds a flipped byte of data only by reading it, and tells the frame's blocks", async () => {
    const object = await packOf(base);
    flip(object, 60);
    expect((await check(false)).problems).toEqual([]);
    const [problem, ...others] = (await check(true)).problems;
    expect(others).toEqual([]);
    expect(problem).toMatchObject({ object, extents: [{ firstBlock: 0, blockCount: 64 }] });
    expect(problem?.reason).toMatch(
      /^its SHA-256 is .*; its frame at byte 42 does not have the digest/,
    );
    expect(problem?.backups).toEqual(idsOf(base, child, grandchild));
  });

  test("finds a flipped byte in the trailer of a pack, which takes no blocks away", async () => {
    const object = await packOf(base);
    flip(object, store.objects.get(object)!.length - 1);
    const { problems } = await check(true);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({ object, extents: [] });
  });

  test("names an index object that is missing or damaged", async () => {
    const object = indexOf(child);
    flip(object, 40);
    const [problem, ...others] = (await check(false)).problems;
    expect(others).toEqual([]);
    expect(problem).toMatchObject({ object, extents: [OWN], backups: idsOf(child, grandchild) });
    store.objects.delete(object);
    expect((await check(false)).problems[0]).toMatchObject({ object, reason: "it is missing" });
  });

  test("names a damaged manifest once, with all backups that build on it", async () => {
    flip(manifestOf(base), 200);
    const { problems } = await check(true);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatchObject({
      object: manifestOf(base),
      backups: idsOf(base, child, grandchild),
    });
  });

  test("names a missing or replaced manifest", async () => {
    const intact = store.objects.get(manifestOf(child))!;
    store.objects.delete(manifestOf(child));
    expect((await check(false)).problems).toMatchObject([
      { object: manifestOf(child), backups: idsOf(grandchild) },
    ]);
    const repository = await newRepository();
    const parent = await takeBackup(repository, { blockCount: BLOCKS }, [
      { firstBlock: 0, blockCount: BLOCKS },
    ]);
    const other = await takeBackup(repository, { blockCount: BLOCKS, parent }, []);
    store.objects.set(
      manifestOf(child),
      (repository.store as MemoryStore).objects.get(manifestOf(other))!,
    );
    const reasons = (await check(false)).problems.map(({ reason }) => reason);
    expect(reasons).toHaveLength(2);
    for (const reason of reasons) expect(reason).toMatch(/not the one that it continues/);
    store.objects.set(manifestOf(child), intact);
    expect((await check(false)).problems).toEqual([]);
  });

  test("finds blocks that no backup of a chain holds", async () => {
    const repository = await openRepository(store);
    await takeBackup(repository, { blockCount: BLOCKS + 10, parent: grandchild }, [
      { firstBlock: BLOCKS, blockCount: 4, bytes: content(4, 4) },
    ]);
    const [problem] = (await check(false)).problems;
    expect(problem?.extents).toEqual([{ firstBlock: BLOCKS + 4, blockCount: 6 }]);
  });

  test("looks only at the chain of a backup that is asked for", async () => {
    store.objects.delete(await packOf(grandchild));
    expect(await check(true, idsOf(child))).toMatchObject({ backups: 2, packs: 2, problems: [] });
    expect((await check(true, idsOf(grandchild))).problems).toHaveLength(1);
    await expect(check(false, ["nope"])).rejects.toMatchObject({ code: "BACKUP_UNKNOWN" });
  });
});
