/** Two writers who know nothing of each other: at most one follows a backup, and nothing breaks. */
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { diskTagOf, nextSequence } from "../../src/core/manifest_key.ts";
import { IbackupError } from "../../src/errors.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import type { Store } from "../../src/store/store.ts";
import {
  BLOCK_BYTES,
  chainTo,
  content,
  continuing,
  exampleManifest,
  newRepository,
  restore,
  takeBackup,
} from "../support/backups.ts";
import { everyInterleaving, Gate } from "../support/gated_store.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 8;
const TAG = diskTagOf({ vmId: "vm-1", diskName: "vda" }, sha256Hex);

/** What a writer's disk holds; each of them has another one. */
const DISKS = [1, 2, 3].map((seed) => content(BLOCKS, seed));

const folder = mkdtempSync(join(tmpdir(), "ibackup-fence-"));
afterAll(() => rmSync(folder, { recursive: true }));
let folders = 0;

const STORES: [string, () => Store][] = [
  ["memory", () => new MemoryStore()],
  ["a directory", () => new DirectoryStore(join(folder, String(folders++)))],
];

/** Backs up the disk of a writer as the next one. Its content is told by `passes`, its number. */
async function backUp(store: Store, writerNumber: number): Promise<StoredManifest> {
  const repository = await openRepository(store);
  const backups = await repository.manifests();
  const parent = backups.at(-1);
  const sequence = nextSequence(
    backups.map(({ key }) => key),
    TAG,
  );
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
  await writer.add({ firstBlock: 0, blockCount: BLOCKS }, DISKS[writerNumber] ?? new Uint8Array());
  const written = await writer.finish();
  const fields = { ...continuing(parent), ...written, sequence, passes: writerNumber + 1 };
  const { backupId } = exampleManifest(100 + writerNumber);
  return await repository.commit(
    exampleManifest(sequence, { blockCount: BLOCKS, ...fields, backupId }),
  );
}

interface Outcome {
  committed: StoredManifest[];
  refused: IbackupError[];
}

/** Two writers, whose calls on keys that are gated come in the order that `choose` says. */
async function race(
  store: Store,
  gated: RegExp,
  choose: (waiting: number) => number,
): Promise<Outcome> {
  const outcome: Outcome = { committed: [], refused: [] };
  const gate = new Gate(gated);
  for (const writer of [0, 1]) {
    gate.open(store, async (ours) => {
      try {
        outcome.committed.push(await backUp(ours, writer));
      } catch (error) {
        if (!(error instanceof IbackupError)) throw error;
        outcome.refused.push(error);
      }
    });
  }
  await gate.run(choose);
  return outcome;
}

/** What is listed is what was said to be committed; each restores to the disk of its writer. */
async function expectWhole(store: Store, { committed, refused }: Outcome, before: number) {
  expect(committed.length + refused.length).toBe(2);
  expect(committed.length).toBeGreaterThan(0);
  for (const { code } of refused) expect(code).toBe("LOCKED");
  const repository = await openRepository(store);
  const listed = await repository.manifests();
  const sequences = listed.map(({ manifest }) => manifest.sequence);
  expect(sequences).toEqual([...listed.keys()]);
  expect(listed.slice(before).map(({ key }) => key)).toEqual(
    committed.map(({ key }) => key).sort(),
  );
  for (const [index, stored] of listed.entries()) {
    if (index > 0) expect(stored.manifest.parentId).toBe(listed[index - 1]?.manifest.backupId);
    const disk = await restore(repository, await chainTo(repository, stored));
    expect(Buffer.compare(disk, DISKS[stored.manifest.passes - 1]!)).toBe(0);
  }
}

describe.each(STORES)("in %s, of two writers at once", (_, makeStore) => {
  // Packs and index objects are named by their content, so in the second case only the calls on
  // manifests are put in every order: 70 instead of thousands. No backup has a map here.
  test.each([
    { before: 0, gated: /^(?!maps\/)/, least: 252 },
    { before: 1, gated: /^manifests\//, least: 70 },
  ])("after $before backups one wins, in every order of their calls", async (asked) => {
    const { before, gated, least } = asked;
    const seen = { both: 0, one: 0 };
    const ways = await everyInterleaving(async (choose) => {
      const store = makeStore();
      const repository = await newRepository(store);
      for (let i = 0; i < before; i++) {
        const whole = { firstBlock: 0, blockCount: BLOCKS, bytes: DISKS[0]! };
        await takeBackup(repository, { blockCount: BLOCKS }, [whole]);
      }
      const outcome = await race(store, gated, choose);
      await expectWhole(store, outcome, before);
      seen[outcome.refused.length === 0 ? "both" : "one"] += 1;
    });
    expect(ways).toBeGreaterThanOrEqual(least);
    // One after the other both get through; wherever both had looked before one committed, one.
    expect(seen.both).toBeGreaterThanOrEqual(2);
    expect(seen.one).toBeGreaterThan(seen.both);
  });
});
