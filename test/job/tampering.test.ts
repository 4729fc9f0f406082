/**
 * Somebody who can write to the store changes, swaps, puts back or removes objects. Each time `verify`
 * says so, and a restore gives the right bytes or none.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync } from "node:crypto";
import { beforeEach, describe, expect, test } from "vitest";
import { type BackupMap, nextMap } from "../../src/core/backup_map.ts";
import { headKeyOf } from "../../src/core/head.ts";
import { encodeKeySlot, keySlotKey } from "../../src/core/key_slot.ts";
import { encodeLease, leaseKey } from "../../src/core/lease.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { IbackupError } from "../../src/errors.ts";
import { findMissing, noteSeen } from "../../src/job/newest_seen.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { type VerifyOptions, type VerifyResult, verify } from "../../src/job/verify.ts";
import { makePair } from "../../src/keys/age.ts";
import { putHead } from "../../src/repo/heads.ts";
import { putMap } from "../../src/repo/maps.ts";
import { changeNote } from "../../src/repo/notes.ts";
import { rebaseBackup, removeBackups } from "../../src/repo/removal.ts";
import { openRepository, Repository, type RepositoryKeys } from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { type Signer, signerOf } from "../../src/repo/signature.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  newRepository,
  restore,
  seededRandom,
  takeBackup,
} from "../support/backups.ts";
import { machineContext } from "../support/context.ts";
import { isLong } from "../support/long.ts";
import { Machine } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 200;
const SEED = 20_261_123;
/** Of each object. */
const SAMPLES = isLong ? 40 : 5;
const signer = signerOf(generateKeyPairSync("ed25519").privateKey);

/** Stands for age, which has its own tests: the other bits. */
const invert = async (key: Uint8Array) => key.map((byte) => byte ^ 0xff);
const TEST_KEYS: RepositoryKeys = { wrap: invert, unwrap: invert, hasIdentity: true };

let store: MemoryStore;
let repositoryId: string;
let chain: StoredManifest[];
/** Of each backup. */
const images = new Map<string, Uint8Array>();

const KINDS = [
  ["sealed", TEST_KEYS],
  ["clear", undefined],
] as const;

async function takeChain(keys: RepositoryKeys | undefined): Promise<void> {
  store = new MemoryStore();
  repositoryId = (await newRepository(store)).id;
  const repository = new Repository(store, repositoryId, keys);
  const disk = content(BLOCKS, 1);
  chain = [];
  for (const number of [0, 1, 2, 3, 4]) {
    const extent = number === 0 ? [0, BLOCKS] : [number * 30, 20];
    const [firstBlock = 0, blockCount = 0] = extent;
    const bytes = content(blockCount, number + 1);
    const parent = chain.at(-1);
    const change = { firstBlock, blockCount, bytes };
    const stored = await takeBackup(repository, { blockCount: BLOCKS, parent, signer }, [change]);
    await putHead(repository, stored, signer);
    disk.set(bytes, firstBlock * BLOCK_BYTES);
    images.set(stored.manifest.backupId, disk.slice());
    chain.push(stored);
  }
  // The map of the third one has two versions.
  const [, second, third] = chain.map(({ manifest }) => manifest.backupId);
  await removeBackups(repository, new Set([second!]), { signer: () => signer });
  await rebaseBackup(repository, third!, () => signer);
  chain = await repository.manifests();
  for (const tag of ["a", "b"]) {
    await changeNote(store, chain[0]!, () => ({ tags: [tag], isProtected: false }));
  }
  await putLease();
  for (const slotId of ["0".repeat(16), "1".repeat(16)]) await putKey(slotId);
}

async function putLease(): Promise<void> {
  const at = new Date(0).toISOString();
  const names = { machine: "m", hostName: "h", bootId: "b", lockFile: "", process: "" };
  const times = { acquiredAt: at, expiresAt: at };
  const lease = { ...names, ...times, holder: "0".repeat(32), pid: 1, released: true };
  await store.put(leaseKey("0".repeat(32), 1), encodeLease(lease, sha256Hex));
}

async function putKey(slotId: string): Promise<void> {
  const { recipient } = await makePair();
  const names = { repositoryId, edition: 1, slotId, recipient, label: "" };
  const createdAt = new Date(0).toISOString();
  const wrapped = { wrapped: "AAAA", passphraseIdentity: null };
  const slot = { ...names, createdAt, repositoryRecipient: recipient, ...wrapped };
  await store.put(keySlotKey(slot), encodeKeySlot(slot, sha256Hex));
}

async function verifyNow(
  keys: RepositoryKeys | undefined,
  missingOf?: VerifyOptions["missingOf"],
): Promise<VerifyResult> {
  await openRepository(store);
  const repository = new Repository(store, repositoryId, keys);
  return await verify({ repository, data: "all", missingOf, progress: SILENT_PROGRESS });
}

/** That it cannot even be read is noticed as well. */
async function isNoticed(keys: RepositoryKeys | undefined): Promise<boolean> {
  return (await orRefusal(async () => (await verifyNow(keys)).problems.length > 0)) ?? true;
}

/** Throws when a restore of a backup gives other bytes than it should. */
async function restoreRightOrNot(keys: RepositoryKeys | undefined): Promise<void> {
  for (const stored of chain) {
    const found = await orRefusal(async () => {
      const repository = new Repository(store, repositoryId, keys);
      return await restore(repository, await chainTo(repository, stored));
    });
    const { backupId } = stored.manifest;
    if (found) expect(Buffer.compare(found, images.get(backupId)!), backupId).toBe(0);
  }
}

async function orRefusal<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    const code = error instanceof IbackupError ? error.code : "";
    if (["CORRUPT_DATA", "REPOSITORY_FORMAT", "BACKUP_UNKNOWN"].includes(code)) return undefined;
    throw error;
  }
}

/** Changes the store, looks, and puts it back. */
async function expectNoticed(
  keys: RepositoryKeys | undefined,
  what: string,
  change: (objects: Map<string, Uint8Array>) => void,
): Promise<void> {
  const before = new Map(store.objects);
  change(store.objects);
  expect(await isNoticed(keys), `seed ${SEED}: ${what} is noticed`).toBe(true);
  await restoreRightOrNot(keys);
  store.objects.clear();
  for (const [key, bytes] of before) store.objects.set(key, bytes);
}

const kindOf = (key: string) => key.split("/")[0];
/** `<tag>/<sequence>` of a backup of the disk. */
const placeOf = (sequence: number) =>
  `${chain[0]!.key.split("/")[1]}/${String(sequence).padStart(10, "0")}`;

describe.each(KINDS)("in a %s repository", (_, keys) => {
  beforeEach(async () => await takeChain(keys));

  test("all is well while nobody has changed anything", async () => {
    const { problems, warnings, backups } = await verifyNow(keys);
    expect({ problems, warnings, backups }).toEqual({ problems: [], warnings: [], backups: 4 });
    await restoreRightOrNot(keys);
    expect(new Set([...store.objects.keys()].map(kindOf))).toEqual(
      new Set([
        ...["repository", "manifests", "heads", "maps", "notes", "leases", "keys"],
        ...["indexes", "packs"],
      ]),
    );
  });

  test("a flipped bit is noticed, in objects of every kind", async () => {
    const random = seededRandom(SEED);
    for (const [key, bytes] of [...store.objects]) {
      for (let sample = 0; sample < SAMPLES; sample++) {
        const at = sample < 3 ? sample * 9 : random(bytes.length);
        const flipped = bytes.slice();
        flipped[at] = flipped[at]! ^ (1 << random(8));
        await expectNoticed(keys, `a bit of byte ${at} of ${key}`, (all) => all.set(key, flipped));
      }
    }
  });

  test("an object that was cut off is noticed", async () => {
    const random = seededRandom(SEED + 1);
    for (const [key, bytes] of [...store.objects]) {
      for (const length of [0, random(bytes.length), bytes.length - 1]) {
        const cut = bytes.slice(0, length);
        await expectNoticed(keys, `${key} cut at ${length}`, (all) => all.set(key, cut));
      }
    }
  });

  test("an object in the place of another of its kind is noticed", async () => {
    const places = [...store.objects.keys()];
    for (const place of places) {
      for (const other of places) {
        if (place === other || kindOf(place) !== kindOf(other)) continue;
        // The map of a removed backup says that its sequence is taken, whatever stands in it.
        if (place.startsWith(`maps/${placeOf(1)}/`)) continue;
        await expectNoticed(keys, `${other} as ${place}`, (all) => all.set(place, all.get(other)!));
      }
    }
  });

  test("a removed object is noticed, but for those that no backup needs", async () => {
    const needed = new Set(["manifests", "indexes", "packs"]);
    for (const key of [...store.objects.keys()]) {
      if (needed.has(kindOf(key)!)) {
        await expectNoticed(keys, `the removal of ${key}`, (all) => all.delete(key));
      } else if (key !== "repository") {
        const before = store.objects.get(key)!;
        store.objects.delete(key);
        await restoreRightOrNot(keys);
        store.objects.set(key, before);
      }
    }
    await expectNoticed(keys, "the removal of all maps", (all) => {
      for (const key of [...all.keys()]) if (kindOf(key) === "maps") all.delete(key);
    });
  });

  test("a forged map is damage, and one that somebody else has signed is told", async () => {
    const repository = new Repository(store, repositoryId, keys);
    const stored = chain.at(-1)!;
    const stranger = signerOf(generateKeyPairSync("ed25519").privateKey);
    const map: BackupMap = { ...nextMap(stored), indexes: [] };
    const forger: Signer = { publicKey: signer.publicKey, sign: stranger.sign };
    await putMap(store, { stored, map, signer: () => forger });
    const { problems } = await verifyNow(keys);
    expect(problems).toMatchObject([
      { object: stored.key, reason: expect.stringMatching(/map.*: its signature does not fit$/) },
    ]);
    await expect(repository.manifests()).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    for (const [version, one] of [stranger, undefined].entries()) {
      const next = { ...map, version: version + 2 };
      await putMap(store, { stored, map: next, signer: () => one });
      const { warnings } = await verifyNow(keys);
      expect(warnings.join()).toContain(`what ${stored.manifest.backupId} consists of was changed`);
    }
    const own = await verify({
      repository,
      data: "none",
      ownWriter: stranger.publicKey,
      progress: SILENT_PROGRESS,
    });
    // The newest one is signed by nobody.
    expect(own.warnings).toHaveLength(1);
  });

  test("a backup that was taken out of the middle with its head is noticed", async () => {
    for (const { key } of chain.slice(1, -1)) {
      await expectNoticed(keys, `the removal of ${key} and its head`, (all) => {
        all.delete(key);
        all.delete(headKeyOf(key));
      });
    }
  });

  test("a manifest in the place of the one that was committed is noticed", async () => {
    const newest = chain.at(-1)!;
    const older = store.objects.get(newest.key)!;
    store.objects.delete(newest.key);
    const repository = new Repository(store, repositoryId, keys);
    const place = { blockCount: BLOCKS, parent: chain.at(-2), signer };
    const other = await takeBackup(repository, place, [{ firstBlock: 7, blockCount: 1 }]);
    expect(other.key).toBe(newest.key);
    const { problems } = await verifyNow(keys);
    expect(problems).toMatchObject([{ object: newest.key }]);
    expect(problems[0]?.reason).toContain("its head names another");
    // And the other way round: the older one comes back over what was committed later.
    store.objects.delete(headKeyOf(newest.key));
    await putHead(repository, other, signer);
    await expectNoticed(keys, "an older manifest", (all) => all.set(newest.key, older));
  });

  test("the newest backup that was taken out is told by its name", async () => {
    const newest = chain.at(-1)!;
    store.objects.delete(newest.key);
    const { problems } = await verifyNow(keys);
    expect(problems).toMatchObject([{ object: newest.key }]);
    expect(problems[0]?.reason).toBe(
      `the backup ${newest.manifest.backupId} was removed, and not by prune`,
    );
  });

  test("a backup that somebody else has put into the chain is told", async () => {
    const repository = new Repository(store, repositoryId, keys);
    const stranger = signerOf(generateKeyPairSync("ed25519").privateKey);
    const disk = { blockCount: BLOCKS, parent: chain.at(-1), signer: stranger };
    const forged = await takeBackup(repository, disk, [{ firstBlock: 0, blockCount: BLOCKS }]);
    const { warnings } = await verifyNow(keys);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(`${forged.manifest.backupId} was not signed by the machine`);
  });
});

describe.each(KINDS)("a %s repository that was put back to an older state", (_, keys) => {
  test("is noticed by the machine that has seen a newer one", async () => {
    await takeChain(keys);
    const machine = new Machine();
    try {
      const context = machineContext(machine) as Parameters<typeof findMissing>[0];
      const newest = chain.at(-1)!;
      noteSeen(context, repositoryId, newest);
      const missingOf: VerifyOptions["missingOf"] = (found) =>
        findMissing(context, repositoryId, found);
      expect((await verifyNow(keys, missingOf)).problems).toEqual([]);

      store.objects.delete(newest.key);
      store.objects.delete(headKeyOf(newest.key));
      expect((await verifyNow(keys)).problems).toEqual([]);
      expect((await verifyNow(keys, missingOf)).problems).toMatchObject([
        { object: newest.key, reason: expect.stringMatching(/is not there any more$/) },
      ]);

      // Another one in its place, as good as any.
      const repository = new Repository(store, repositoryId, keys);
      const parent = chain.at(-2);
      const other = await takeBackup(repository, { blockCount: BLOCKS, parent, signer }, [
        { firstBlock: 7, blockCount: 1 },
      ]);
      await putHead(repository, other, signer);
      expect(other.key).toBe(newest.key);
      expect((await verifyNow(keys, missingOf)).problems).toMatchObject([
        { object: newest.key, reason: expect.stringMatching(/is another one now$/) },
      ]);
    } finally {
      machine.close();
    }
  });
});
