/** What is sealed opens again, and nothing that was changed does. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeIndexHeader } from "../../src/core/index_codec.ts";
import { decodePack } from "../../src/core/pack.ts";
import { IbackupError } from "../../src/errors.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { readBlocks } from "../../src/repo/block_reader.ts";
import { deriveKey, openPart, sealPart } from "../../src/repo/cipher.ts";
import { sealManifest } from "../../src/repo/manifest_seal.ts";
import {
  createRepository,
  type Repository,
  type RepositoryKeys,
} from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { exampleManifest } from "../support/backups.ts";
import { MemoryStore } from "../support/memory_store.ts";

const ID = "6f1f3a52-9e6e-4b53-9a0d-6a1c4f5e8a11";
const BLOCK_BYTES = 4096;
const BLOCK_COUNT = 3000;

/** Wraps by turning each bit: what age does is not in question here. */
const KEYS: RepositoryKeys = {
  hasIdentity: true,
  wrap: async (dataKey) => dataKey.map((byte) => byte ^ 0xff),
  unwrap: async (wrapped) => wrapped.map((byte) => byte ^ 0xff),
};

async function sealedRepository(): Promise<{ store: MemoryStore; repository: Repository }> {
  const store = new MemoryStore();
  const facts = { id: ID, createdAt: new Date(0), recipient: "age1x" };
  return { store, repository: await createRepository(store, facts, () => KEYS) };
}

async function backUp(repository: Repository, content: Uint8Array) {
  const sealer = await repository.sealer();
  const options = { blockBytes: BLOCK_BYTES, blockCount: BLOCK_COUNT, sealer };
  const writer = openBackupWriter(repository, options);
  await writer.add({ firstBlock: 0, blockCount: BLOCK_COUNT }, content);
  const { indexes } = await writer.finish();
  const number = (await repository.manifests()).length;
  const {
    seal,
    writer: _,
    signature,
    ...draft
  } = exampleManifest(number, {
    blockCount: BLOCK_COUNT,
    sequence: number,
    type: "base",
    gapCheck: "base",
    parentId: null,
    parentSha256: null,
    parentSequence: null,
    indexes,
  });
  const { details } = draft;
  if (typeof details === "string") throw new Error("the example is not sealed");
  return await repository.commit(await sealManifest({ ...draft, details }, sealer));
}

async function contentOf(repository: Repository, stored: Awaited<ReturnType<typeof backUp>>) {
  const content = new Uint8Array(BLOCK_COUNT * BLOCK_BYTES);
  for await (const piece of readBlocks(repository, [stored])) {
    if (piece.kind !== "zero") content.set(piece.bytes, piece.firstBlock * BLOCK_BYTES);
  }
  return content;
}

describe("a sealed part", () => {
  const bytes = fc.uint8Array({ maxLength: 200 });
  const key = deriveKey(randomBytes(32), randomBytes(32), new TextEncoder().encode("x"));

  test("opens at its place, with its public part, unchanged, and not otherwise", async () => {
    await fc.assert(
      fc.asyncProperty(bytes, bytes, fc.nat(), async (secret, publicPart, place) => {
        const sealed = await sealPart(key, { place, publicPart, bytes: secret });
        const open = (part: object) => openPart(key, { place, publicPart, bytes: sealed, ...part });
        expect(await open({})).toEqual(secret);
        expect(await open({ place: place + 1 })).toBeUndefined();
        expect(await open({ publicPart: Uint8Array.of(...publicPart, 0) })).toBeUndefined();
        expect(await open({ bytes: sealed.subarray(1) })).toBeUndefined();
        const flipped = sealed.slice();
        const at = place % sealed.length;
        flipped[at] = (flipped[at] ?? 0) ^ (1 << (place & 7));
        expect(await open({ bytes: flipped })).toBeUndefined();
      }),
    );
  });
});

describe("a sealed repository", () => {
  test("gives back what was stored, with details, and not in clear", async () => {
    const { store, repository } = await sealedRepository();
    const content = new Uint8Array(BLOCK_COUNT * BLOCK_BYTES);
    content.set(randomBytes(9 << 20));
    const text = new TextEncoder().encode("nobody is to read this ");
    for (let at = 9 << 20; at + text.length < content.length; at += 3000) content.set(text, at);
    const stored = await backUp(repository, content);
    expect(Buffer.compare(await contentOf(repository, stored), content)).toBe(0);
    expect((await repository.detailsOf(stored)).gapReason).toBe("test");
    for await (const { key } of store.list("")) {
      const object = Buffer.from((await store.get(key, { maxBytes: 1 << 25 })) ?? []);
      expect([key, object.includes("nobody is to read")]).toEqual([key, false]);
      expect([key, object.includes("gapReason")]).toEqual([key, false]);
    }
  });

  test("never uses a salt or a wrapped key of another backup again", async () => {
    const { store, repository } = await sealedRepository();
    const content = new Uint8Array(randomBytes(BLOCK_COUNT * BLOCK_BYTES));
    for (let round = 0; round < 3; round++) await backUp(repository, content);
    const salts: string[] = [];
    const wrapped = new Set<string>();
    const note = (seal: { salt: Uint8Array; wrappedKey: Uint8Array }) => {
      salts.push(Buffer.from(seal.salt).toString("hex"));
      wrapped.add(Buffer.from(seal.wrappedKey).toString("hex"));
    };
    for await (const { key } of store.list("")) {
      const bytes = (await store.get(key, { maxBytes: 1 << 25 })) ?? new Uint8Array();
      if (key.startsWith("packs/")) note(decodePack(key, bytes, sha256Hex).seal);
      if (key.startsWith("indexes/")) note(decodeIndexHeader(key, bytes).header.seal);
    }
    for (const { manifest } of await repository.manifests()) {
      salts.push(Buffer.from(manifest.seal?.salt ?? "", "base64").toString("hex"));
    }
    expect(salts.length).toBeGreaterThanOrEqual(9);
    expect(new Set(salts).size).toBe(salts.length);
    expect(wrapped.size).toBe(3);
  });

  test("takes no object that is not sealed", async () => {
    const { repository } = await sealedRepository();
    const clear = exampleManifest(0, { blockCount: 1 });
    await repository.commit(clear);
    const damaged: IbackupError[] = [];
    await repository.manifests(({ error }) => damaged.push(error));
    expect(damaged.map(({ why }) => why)).toEqual([expect.stringContaining("it is clear")]);
  });

  test("opens nothing that was sealed for another repository", async () => {
    const { store, repository } = await sealedRepository();
    const stored = await backUp(repository, new Uint8Array(BLOCK_COUNT * BLOCK_BYTES).fill(7));
    const other = new MemoryStore();
    for await (const { key } of store.list("")) {
      if (key === "repository") continue;
      await other.put(key, (await store.get(key, { maxBytes: 1 << 25 })) ?? new Uint8Array());
    }
    const facts = { id: ID.replace("6", "7"), createdAt: new Date(0), recipient: "age1x" };
    const elsewhere = await createRepository(other, facts, () => KEYS);
    await expect(contentOf(elsewhere, stored)).rejects.toMatchObject({ code: "CORRUPT_DATA" });
    await expect(elsewhere.detailsOf(stored)).rejects.toBeInstanceOf(IbackupError);
  });
});
