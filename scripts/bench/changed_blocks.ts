/** What an incremental takes in the repository, against what zstd makes of the same blocks. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { openBackupWriter } from "../../src/repo/backup_writer.ts";
import { compress } from "../../src/runtime/compression.ts";
import { BLOCK_BYTES, newRepository } from "../../test/support/backups.ts";
import { MemoryStore } from "../../test/support/memory_store.ts";
import { seededRandom } from "../../test/support/random.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";

const GiB = 2 ** 30;
const ROOT = join(import.meta.dirname, "../..");
const SHARE = 0.01;

export const CHANGED_BLOCKS: Figure = { name: "bytes of an incremental", measure };

async function measure({ quick, say }: MeasureOptions): Promise<Value[]> {
  const diskBytes = (quick ? 2 : 16) * GiB;
  const values: Value[] = [];
  for (const [name, pattern] of [
    ["text", "node_modules/{typescript,zod,@types}/**/*.{ts,js,md,json}"],
    ["programs", "{dist/ibackup,node_modules/bun/bin/*,node_modules/deno/deno}"],
  ] as const) {
    const { stored, zstd, blocks } = await measureContent(diskBytes, pattern);
    const value = stored / zstd;
    say(`  ${name}: ${blocks} blocks, ${stored} bytes stored, ${zstd} by zstd -3`);
    const goal = { atMost: 1.15 };
    const of = `1 % of ${diskBytes / GiB} GiB in single blocks of ${name}`;
    values.push({ name: `${of}, stored / zstd -3`, measured: value, unit: "", decimals: 3, goal });
  }
  return values;
}

async function measureContent(diskBytes: number, pattern: string) {
  const random = seededRandom("changed blocks", 1);
  const source = Buffer.concat(
    globSync(pattern, { cwd: ROOT }).map((path) => {
      const bytes = readFileSync(join(ROOT, path));
      return bytes.subarray(0, bytes.length - (bytes.length % BLOCK_BYTES));
    }),
  );
  const blockCount = diskBytes / BLOCK_BYTES;
  const changed = new Set<number>();
  while (changed.size < blockCount * SHARE) changed.add(random.below(blockCount));
  const repository = await newRepository(new MemoryStore());
  const writer = openBackupWriter(repository, { blockBytes: BLOCK_BYTES, blockCount });
  const all = new Uint8Array(changed.size * BLOCK_BYTES);
  let at = 0;
  for (const firstBlock of [...changed].sort((left, right) => left - right)) {
    const from = random.below(source.length / BLOCK_BYTES) * BLOCK_BYTES;
    const bytes = source.subarray(from, from + BLOCK_BYTES);
    await writer.add({ firstBlock, blockCount: 1 }, bytes);
    all.set(bytes, at);
    at += BLOCK_BYTES;
  }
  const { bytesStored } = await writer.finish();
  return { stored: bytesStored, zstd: (await compress(all, 3)).length, blocks: changed.size };
}
