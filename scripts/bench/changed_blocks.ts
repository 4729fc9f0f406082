/** What an incremental takes in the repository, against what zstd makes of the same blocks. */
import {
  closeSync,
  constants,
  globSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { makePair } from "../../src/keys/age.ts";
import { alignedBytes } from "../../src/runtime/aligned.ts";
import { compress } from "../../src/runtime/compression.ts";
import { Machine } from "../../test/support/machine.ts";
import { type Flushed, ibackupJson } from "../../test/support/program.ts";
import { type Random, seededRandom } from "../../test/support/random.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";

const GiB = 2 ** 30;
const MiB = 2 ** 20;
const BLOCK_BYTES = 4096;
const SHARE = 0.01;
const ZSTD_LEVEL = 3;
const GOAL = { atMost: 1.15 };
/** Of each pattern: enough that a block seldom comes twice. */
const POOL_BYTES_MAX = 256 * MiB;
const FILE_BYTES_MAX = 64 * MiB;

const TEXT = [
  "/usr/share/{doc,perl,i18n,mime}/**/*",
  "/usr/lib/python3*/**/*.py",
  "/usr/include/**/*",
];
const PROGRAMS = ["/usr/{bin,sbin}/*", "/usr/lib/**/*.so*"];
const CONTENTS = [
  { name: "files of all kinds", patterns: ["/usr/{bin,sbin}/*", "/usr/lib/**/*", ...TEXT] },
  { name: "text", patterns: TEXT },
  { name: "programs", patterns: PROGRAMS },
];

export const CHANGED_BLOCKS: Figure = { name: "bytes of an incremental", measure };

interface Bench {
  machine: Machine;
  device: string;
  /** Where the blocks lie that change, ascending. */
  changed: readonly number[];
  repositories: { name: string; flush(): Flushed }[];
  random: Random;
}

async function measure({ quick, say }: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const sizeGiB = quick ? 2 : 16;
    const bench = await prepare(machine, sizeGiB);
    const values: Value[] = [];
    for (const content of CONTENTS) {
      const blocks = changeBlocks(bench, readPool(content.patterns));
      const stream = (await compress(blocks, ZSTD_LEVEL)).length;
      const alone = await oneByOne(blocks);
      const of = `1 % of ${sizeGiB} GiB in single blocks, ${content.name}`;
      for (const { name, flush } of bench.repositories) {
        const { gapCheck, blocksChanged, bytesStored } = flush();
        if (gapCheck.verdict !== "trusted" || blocksChanged !== bench.changed.length) {
          throw new Error(`${blocksChanged} blocks changed; ${gapCheck.reason}`);
        }
        say(`  ${content.name}, ${name}: ${bytesStored} bytes stored, ${stream} by zstd`);
        const ratio = { measured: bytesStored / stream, unit: "", decimals: 3, goal: GOAL };
        values.push({ name: `${of}, ${name}: stored / zstd -3 of all as one stream`, ...ratio });
      }
      const explained = { unit: " MiB", decimals: 1 };
      values.push({ name: "  zstd -3 of all as one stream", measured: stream / MiB, ...explained });
      values.push({ name: "  zstd -3 of each block alone", measured: alone / MiB, ...explained });
    }
    return values;
  } finally {
    machine.close();
  }
}

/** A tracked disk with its base in a repository in clear and in one that is sealed. */
async function prepare(machine: Machine, sizeGiB: number): Promise<Bench> {
  const folder = memoryFolder(machine);
  const env = environmentOf(folder);
  const device = makeLoopDisk(machine, join(folder, "disk.img"), sizeGiB * GiB);
  const { recipient } = await makePair();
  machine.onClose(() => void ibackupJson(machine, ["track", "stop"], { env }));
  ibackupJson(machine, ["track", "start", device], { env });
  const kinds = [
    { name: "in clear", options: ["--no-encryption"] },
    { name: "sealed", options: ["--recipient", recipient] },
  ];
  const repositories = kinds.map(({ name, options }, number) => {
    const repo = ["--repo", `file://${join(folder, String(number))}`];
    ibackupJson(machine, ["init", ...options, ...repo], { env });
    const flush = () => ibackupJson<Flushed>(machine, ["flush", device, ...repo], { env });
    if (flush().type !== "base") throw new Error("the first flush is no base");
    return { name, flush };
  });
  const random = seededRandom("changed blocks", 1);
  const blockCount = (sizeGiB * GiB) / BLOCK_BYTES;
  const changed = new Set<number>();
  while (changed.size < Math.floor(blockCount * SHARE)) changed.add(random.below(blockCount));
  const inOrder = [...changed].sort((left, right) => left - right);
  return { machine, device, changed: inOrder, repositories, random };
}

/** Whole blocks of files, as much of each pattern as is wanted. */
function readPool(patterns: readonly string[]): Buffer {
  return Buffer.concat(
    patterns.flatMap((pattern) => {
      const parts: Buffer[] = [];
      let bytes = 0;
      for (const path of globSync(pattern).sort()) {
        const found = statSync(path, { throwIfNoEntry: false });
        if (!found?.isFile() || found.size > FILE_BYTES_MAX || bytes > POOL_BYTES_MAX) continue;
        const file = readFileSync(path);
        parts.push(file.subarray(0, file.length - (file.length % BLOCK_BYTES)));
        bytes += file.length;
      }
      return parts;
    }),
  );
}

/** Writes a block of the pool to each place. @returns What was written, in the order of the disk. */
function changeBlocks({ device, changed, random }: Bench, pool: Buffer): Uint8Array {
  const all = new Uint8Array(changed.length * BLOCK_BYTES);
  const block = alignedBytes(BLOCK_BYTES);
  const descriptor = openSync(device, constants.O_WRONLY | constants.O_DIRECT);
  try {
    for (const [number, place] of changed.entries()) {
      const from = random.below(pool.length / BLOCK_BYTES) * BLOCK_BYTES;
      block.set(pool.subarray(from, from + BLOCK_BYTES));
      all.set(block, number * BLOCK_BYTES);
      writeSync(descriptor, block, 0, BLOCK_BYTES, place * BLOCK_BYTES);
    }
  } finally {
    closeSync(descriptor);
  }
  return all;
}

async function oneByOne(blocks: Uint8Array): Promise<number> {
  let bytes = 0;
  for (let at = 0; at < blocks.length; at += BLOCK_BYTES) {
    bytes += (await compress(blocks.subarray(at, at + BLOCK_BYTES), ZSTD_LEVEL)).length;
  }
  return bytes;
}
