/** What `verify --repair` could not repair is known afterwards without reading any data. */
import { Buffer } from "node:buffer";
import { rmSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import type { StoredManifest } from "../../src/core/manifest.ts";
import { listBackups } from "../../src/job/catalogue.ts";
import type { JobContext } from "../../src/job/context.ts";
import { SILENT_PROGRESS } from "../../src/job/progress.ts";
import { recordLosses } from "../../src/job/record_losses.ts";
import { restoreBackup } from "../../src/job/restore.ts";
import { type VerifyOptions, verify } from "../../src/job/verify.ts";
import type { Repository } from "../../src/repo/repository.ts";
import { content, newRepository, restore, takeBackup } from "../support/backups.ts";
import { testContext } from "../support/context.ts";
import { Machine } from "../support/machine.ts";
import { MemoryStore } from "../support/memory_store.ts";

const BLOCKS = 60;
/** First block and number of blocks of each backup: the last two write all that the second one has. */
const WRITES = [
  [0, BLOCKS],
  [10, 20],
  [10, 5],
  [15, 15],
] as const;
const idOf = ({ manifest }: StoredManifest) => manifest.backupId;

let machine: Machine;
let store: MemoryStore;
let repository: Repository;
let context: JobContext;
let chain: StoredManifest[];

beforeEach(async () => {
  machine = new Machine();
  store = new MemoryStore();
  repository = await newRepository(store);
  context = testContext(machine, { repository, pins: "none" });
  chain = [];
  for (const [firstBlock, blockCount] of WRITES) {
    const change = { firstBlock, blockCount, bytes: content(blockCount, chain.length) };
    const parent = chain.at(-1);
    chain.push(await takeBackup(repository, { blockCount: BLOCKS, parent }, [change]));
  }
});
afterEach(() => machine.close());

async function packOf({ manifest }: StoredManifest): Promise<string> {
  const [pack] = await repository.indexes.packs(manifest, manifest.indexes[0]!);
  return `packs/${pack!.name.slice(0, 2)}/${pack!.name}`;
}

const look = async (data: VerifyOptions["data"]) =>
  (await verify({ repository, data, progress: SILENT_PROGRESS })).problems;
const recorded = async () =>
  (await listBackups(context, {})).backups.map(({ blocksLost }) => blocksLost);

function restoring(backup: StoredManifest, partial: boolean) {
  const target = machine.path(`${idOf(backup)}-${partial}`);
  const request = { choice: { id: idOf(backup) }, scope: {}, vmId: "vm-1" };
  const choices = { dryRun: false, force: false, replay: false, verify: false };
  rmSync(target, { force: true });
  return restoreBackup(context, {
    ...choices,
    ...{ backup: request, target, partial, changedOnly: false },
  });
}

test("each backup that loses blocks is told, and refused, and those that lose none are not", async () => {
  const pack = await packOf(chain[1]!);
  const bytes = store.objects.get(pack)!;
  const spoilt = bytes.slice();
  spoilt.fill(0, 200, 400);
  store.objects.set(pack, spoilt);
  const found = await look("all");
  expect(found).toMatchObject([{ object: pack }]);
  await recordLosses(context, { problems: found, isWhole: true });
  expect(await recorded()).toEqual([0, 20, 15, 0]);
  expect((await look("none")).map(({ backups }) => backups)).toEqual([
    [idOf(chain[1]!)],
    [idOf(chain[2]!)],
  ]);
  await expect(restoring(chain[2]!, false)).rejects.toMatchObject({
    code: "CORRUPT_DATA",
    why: expect.stringMatching(/^15 of its blocks were lost/),
  });
  expect((await restoring(chain[2]!, true)).damaged).not.toEqual([]);
  expect((await restoring(chain[3]!, false)).damaged).toEqual([]);

  // Not all was read: nothing is taken back.
  store.objects.set(pack, bytes);
  await recordLosses(context, { problems: await look("none"), isWhole: false });
  expect(await recorded()).toEqual([0, 20, 15, 0]);
  await recordLosses(context, { problems: await look("all"), isWhole: true });
  expect(await recorded()).toEqual([0, 0, 0, 0]);
  expect(await look("all")).toEqual([]);
  expect((await restoring(chain[2]!, false)).damaged).toEqual([]);
});

test("an index object that is lost, and what was written over since, are counted by block", async () => {
  store.objects.delete(`indexes/${chain[0]!.manifest.indexes[0]!.name}`);
  store.objects.delete(await packOf(chain[3]!));
  await recordLosses(context, { problems: await look("all"), isWhole: true });
  expect(await recorded()).toEqual([60, 40, 40, 55]);
  // The same by a restore of what is left.
  const all = await repository.manifests();
  for (const [nth, lost] of [60, 40, 40, 55].entries()) {
    const blocks = new Set<number>();
    const image = await restore(repository, chainOf(all, idOf(chain[nth]!)), {
      onDamage: ({ extents }) => {
        for (const { firstBlock, blockCount } of extents) {
          for (let block = 0; block < blockCount; block++) blocks.add(firstBlock + block);
        }
      },
    });
    expect(blocks.size).toBe(lost);
    expect(Buffer.from(image).length).toBeGreaterThan(0);
  }
});
