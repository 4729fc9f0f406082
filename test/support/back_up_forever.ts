/**
 * Takes backups of a made-up disk into a repository, one after the other, as a flush does: lease,
 * blocks, manifest. Prints `backupId sha256` of each that is committed. Ends when it is killed.
 *
 * Arguments: folder of the repository, id of the VM, seed.
 */
import { createHash } from "node:crypto";
import { argv, stdout } from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { chainOf } from "../../src/core/chain.ts";
import { diskTagOf, nextSequence } from "../../src/core/manifest_key.ts";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { acquireLease } from "../../src/repo/lease.ts";
import { openRepository } from "../../src/repo/repository.ts";
import { sha256Hex } from "../../src/repo/sha256.ts";
import { newestVersions } from "../../src/repo/sidecars.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import { BLOCK_BYTES, content, continuing, exampleManifest, restore } from "./backups.ts";
import { seededRandom } from "./random.ts";

const BLOCKS = 64;
const [folder = "", vmId = "", seed = "0"] = argv.slice(2);
const random = seededRandom(vmId, Number(seed));
const store = new DirectoryStore(folder);
const diskTag = diskTagOf({ vmId, diskName: "vda" }, sha256Hex);

for (;;) {
  const names = { machine: vmId, hostName: vmId, bootId: "b", lockFile: "l", pid: 1, process: "" };
  const holder = { ...names, holder: sha256Hex(random.bytes(8)).slice(0, 32) };
  const answer = await acquireLease(store, {
    diskTag,
    holder,
    now: () => new Date(),
    hasEnded: () => false,
  });
  if ("heldBy" in answer) throw new Error("somebody else backs this disk up");
  const repository = await openRepository(store);
  const backups = (await repository.manifests()).filter(({ manifest }) => manifest.vmId === vmId);
  const parent = random.below(4) === 0 ? undefined : backups.at(-1);
  const keys = backups.map(({ key }) => key);
  keys.push(...(await newestVersions(store, `maps/${diskTag}/`)).keys());
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount: BLOCKS });
  // The same few contents again and again: what a killed one has left is stored once more.
  if (!parent)
    await writer.add({ firstBlock: 0, blockCount: BLOCKS }, content(BLOCKS, random.below(3)));
  for (let change = 0; change < 3; change++) {
    const firstBlock = random.below(BLOCKS - 4);
    await writer.add({ firstBlock, blockCount: 4 }, content(4, random.below(5)));
    await sleep(random.below(20));
  }
  const written = await writer.finish();
  await answer.held.renew();
  const sequence = nextSequence(keys, diskTag);
  const { backupId } = exampleManifest(random.below(2 ** 31));
  const fields = {
    ...continuing(parent),
    ...written,
    sequence,
    blockCount: BLOCKS,
    vmId,
    backupId,
  };
  const stored = await repository.commit(exampleManifest(sequence, fields));
  const all = [...backups, stored];
  const image = await restore(repository, chainOf(all, stored.manifest.backupId));
  stdout.write(`${backupId} ${createHash("sha256").update(image).digest("hex")}\n`);
  await answer.held.release();
  // Now and then nobody has a lease, and gc has something to remove.
  await sleep(random.below(400));
}
