/** gc without any grace, over and over, while others take backups and die, and some are pruned. */
import type { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { env, execPath } from "node:process";
import { afterEach, expect, test } from "vitest";
import { chainOf } from "../../src/core/chain.ts";
import { collectGarbage } from "../../src/repo/garbage.ts";
import { removeBackups } from "../../src/repo/removal.ts";
import { openRepository, type Repository } from "../../src/repo/repository.ts";
import { rewriteBackup } from "../../src/repo/rewrite.ts";
import { DirectoryStore } from "../../src/store/directory.ts";
import { newRepository, restore } from "../support/backups.ts";
import { seededRandom } from "../support/random.ts";

const WRITER = join(import.meta.dirname, "../support/back_up_forever.ts");
const SECONDS = env["IBACKUP_LONG"] === "1" ? 300 : 15;

const folder = mkdtempSync(join(tmpdir(), "ibackup-gc-race-"));
const writers: ChildProcess[] = [];
afterEach(() => {
  for (const writer of writers) writer.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});

test("never removes what is needed", { timeout: (SECONDS + 120) * 1000 }, async () => {
  const repository = await newRepository(new DirectoryStore(folder));
  const random = seededRandom("gc race");
  const images = new Map<string, string>();
  const failures: string[] = [];
  const start = (vmId: string): void => {
    const writer = spawn(execPath, [WRITER, folder, vmId, String(random.below(2 ** 31))]);
    writers.push(writer);
    let text = "";
    writer.stdout.on("data", (data: Buffer) => {
      text += data.toString();
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) images.set(...(line.split(" ") as [string, string]));
    });
    let problems = "";
    writer.stderr.on("data", (data: Buffer) => {
      problems += data.toString();
    });
    writer.on("exit", (_code, signal) => {
      if (signal === "SIGKILL") start(vmId);
      else failures.push(problems);
    });
  };
  start("vm-a");
  start("vm-b");
  const endsAt = Date.now() + SECONDS * 1000;
  const counts = { rounds: 0, packs: 0, removed: 0 };
  while (Date.now() < endsAt && failures.length === 0) {
    const own = "0".repeat(32);
    const { packs } = await collectGarbage(repository, { graceMs: 0, dryRun: false, own });
    counts.packs += packs;
    counts.rounds += 1;
    if (random.below(3) === 0) writers.at(random.below(2) - 2)?.kill("SIGKILL");
    if (random.below(2) === 0) counts.removed += await removeSome(repository, random);
    for (const stored of await repository.manifests()) await rewriteBackup(repository, stored);
  }
  for (const writer of writers) writer.removeAllListeners("exit").kill("SIGKILL");
  expect(failures).toEqual([]);
  expect(await wrongOnes(images)).toEqual([]);
  // It has shown something only if there was something to remove.
  expect(Math.min(counts.rounds, counts.packs, counts.removed)).toBeGreaterThan(2);
});

async function removeSome(
  repository: Repository,
  random: { below(end: number): number },
): Promise<number> {
  const all = await repository.manifests();
  const byDisk = Map.groupBy(all, ({ manifest }) => manifest.vmId);
  const old = [...byDisk.values()].flatMap((ofDisk) => ofDisk.slice(0, -1));
  const going = old.filter(() => random.below(3) === 0).map(({ manifest }) => manifest.backupId);
  await removeBackups(repository, new Set(going));
  return going.length;
}

/** Those that cannot be restored, or to something else than what was seen at first. */
async function wrongOnes(images: ReadonlyMap<string, string>): Promise<string[]> {
  const repository = await openRepository(new DirectoryStore(folder));
  const all = await repository.manifests();
  const wrong: string[] = [];
  for (const { manifest } of all) {
    const image = await restore(repository, chainOf(all, manifest.backupId)).catch(String);
    const digest = createHash("sha256").update(image).digest("hex");
    // One that was committed and not told of: its writer was killed in between.
    const expected = images.get(manifest.backupId) ?? digest;
    if (typeof image === "string" || digest !== expected)
      wrong.push(`${manifest.backupId} ${image}`);
  }
  return wrong;
}
