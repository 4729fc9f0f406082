/** Documents that cannot be read stop gc and prune; `prune --damaged` is the way out. */
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { nextMap } from "../../src/core/backup_map.ts";
import { chainOf } from "../../src/core/chain.ts";
import { headKeyOf } from "../../src/core/head.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { sidecarKey } from "../../src/core/sidecar_key.ts";
import type { JobContext } from "../../src/job/context.ts";
import { gc } from "../../src/job/gc.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { pruneDamaged } from "../../src/job/prune_damaged.ts";
import { verify } from "../../src/job/verify.ts";
import { copyBackups } from "../../src/repo/copy.ts";
import { putHead } from "../../src/repo/heads.ts";
import { putMap } from "../../src/repo/maps.ts";
import { changeNote } from "../../src/repo/notes.ts";
import { removeBackups } from "../../src/repo/removal.ts";
import { cloneRepository, openRepository, type Repository } from "../../src/repo/repository.ts";
import { signerOf } from "../../src/repo/signature.ts";
import { BLOCK_BYTES, content, newRepository, restore, takeBackup } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { Machine } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 40;
const signer = signerOf(generateKeyPairSync("ed25519").privateKey);
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

let machine: Machine;
let store: MemoryStore;
let repository: Repository;
let context: JobContext;
let chain: StoredManifest[];
const images = new Map<string, Uint8Array>();

beforeEach(async () => {
  machine = new Machine();
  store = new MemoryStore();
  repository = await newRepository(store);
  context = testContext(machine, { repository, pins: "none" });
  chain = [];
  const disk = new Uint8Array(BLOCKS * BLOCK_BYTES);
  for (const number of [0, 1, 2, 3, 4]) {
    const blockCount = number === 0 ? BLOCKS : 3;
    const change = { firstBlock: number * 5, blockCount, bytes: content(blockCount, number) };
    const parent = chain.at(-1);
    const stored = await takeBackup(repository, { blockCount: BLOCKS, parent, signer }, [change]);
    await putHead(repository, stored, signer);
    chain.push(stored);
    disk.set(change.bytes, change.firstBlock * BLOCK_BYTES);
    images.set(idOf(stored), disk.slice());
  }
});
afterEach(() => machine.close());

function spoil(object: string): void {
  const bytes = store.objects.get(object)!.slice();
  bytes[bytes.length - 9]! ^= 4;
  store.objects.set(object, bytes);
}

/** Those of the backups that can be restored; each of them is what it should be. */
async function restorable(): Promise<string[]> {
  const all = await repository.manifests(() => undefined);
  const good: string[] = [];
  for (const id of all.map(idOf)) {
    try {
      const found = await restore(repository, chainOf(all, id));
      expect(Buffer.compare(found, images.get(id)!)).toBe(0);
      good.push(id);
    } catch (error) {
      expect(error).toMatchObject({ code: "CORRUPT_DATA" });
    }
  }
  return good;
}

const collect = () => gc(context, { graceMs: 0, dryRun: false });
const findProblems = async () =>
  (await verify({ repository, data: "all", progress: SILENT_PROGRESS })).problems;

test("a manifest: gc and prune go on, and those that build on it can be pruned by name", async () => {
  const { key } = chain[2]!;
  spoil(key);
  const [third, fourth] = [idOf(chain[3]!), idOf(chain[4]!)];
  const stuck = { code: "CORRUPT_DATA", fix: expect.stringContaining("prune --damaged") };
  await expect(collect()).rejects.toMatchObject(stuck);
  await expect(removeBackups(repository, new Set([third]))).rejects.toMatchObject(stuck);
  const before = [...store.objects.keys()];
  const damaged = [{ object: key, backups: [third, fourth] }];
  expect(await pruneDamaged(context, { dryRun: true })).toMatchObject({ damaged, removed: [] });
  expect([...store.objects.keys()]).toEqual(before);

  expect(await pruneDamaged(context, { dryRun: false })).toMatchObject({ damaged, removed: [key] });
  expect(store.objects.has(headKeyOf(key))).toBe(false);
  await collect();
  expect(await restorable()).toEqual(chain.slice(0, 2).map(idOf));
  expect(await findProblems()).toMatchObject([{ object: key, backups: [third, fourth] }]);
  await removeBackups(repository, new Set([third, fourth]));
  await collect();
  expect(await findProblems()).toEqual([]);
  expect(await restorable()).toEqual(chain.slice(0, 2).map(idOf));
});

test("a manifest comes back from a copy that is elsewhere", async () => {
  const elsewhere = new MemoryStore();
  await cloneRepository(repository, elsewhere);
  const copy = await openRepository(elsewhere);
  await copyBackups({ from: repository, to: copy }, chain);
  spoil(chain[2]!.key);
  await pruneDamaged(context, { dryRun: false });
  await copyBackups({ from: copy, to: repository }, await copy.manifests());
  await collect();
  expect(await findProblems()).toEqual([]);
  expect(await restorable()).toEqual(chain.map(idOf));
});

test("a map or a note: the version before counts again", async () => {
  const [stored] = chain;
  for (const version of [1, 2]) {
    const map = { ...nextMap(stored!), version };
    await putMap(store, { stored: stored!, map, signer: () => signer });
  }
  await changeNote(store, stored!, () => ({ tags: ["a"], isProtected: false }));
  const { key: manifestKey } = stored!;
  const map = sidecarKey({ folder: "maps", manifestKey, version: 2 });
  const note = sidecarKey({ folder: "notes", manifestKey, version: 1 });
  for (const object of [map, note]) {
    spoil(object);
    if (object === map) await expect(collect()).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    expect(await pruneDamaged(context, { dryRun: false })).toMatchObject({ removed: [object] });
    expect(await findProblems()).toEqual([]);
    await collect();
    expect(await restorable()).toEqual(chain.map(idOf));
  }
});

test("a head, damaged or left alone by a manifest that somebody took away", async () => {
  const newest = chain.at(-1)!;
  spoil(headKeyOf(chain[1]!.key));
  store.objects.delete(newest.key);
  expect(await findProblems()).toHaveLength(2);
  const { removed } = await pruneDamaged(context, { dryRun: false });
  expect(new Set(removed)).toEqual(new Set([headKeyOf(chain[1]!.key), newest.key]));
  expect(await findProblems()).toEqual([]);
  expect(await pruneDamaged(context, { dryRun: false })).toMatchObject({ damaged: [] });
  expect(await restorable()).toEqual(chain.slice(0, -1).map(idOf));
});

test("what a newer ibackup wrote is not damaged", async () => {
  const { key } = chain[2]!;
  const text = Buffer.from(store.objects.get(key)!).toString();
  store.objects.set(key, Buffer.from(text.replace("ibackup-manifest 1 ", "ibackup-manifest 2 ")));
  const before = new Map(store.objects);
  await expect(pruneDamaged(context, { dryRun: false })).rejects.toMatchObject({
    code: "REPOSITORY_FORMAT",
  });
  expect(new Set(store.objects.keys())).toEqual(new Set(before.keys()));
});
