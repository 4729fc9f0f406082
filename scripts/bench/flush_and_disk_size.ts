/** Whether a flush costs what has changed, not what the disk could hold. */

import { randomFillSync } from "node:crypto";
import { once } from "node:events";
import { closeSync, constants, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { alignedBytes } from "../../src/runtime/aligned.ts";
import { Machine } from "../../test/support/machine.ts";
import { peakBytesOfTree } from "../../test/support/processes.ts";
import { type Flushed, ibackupJson, startIbackup } from "../../test/support/program.ts";
import { environmentOf, makeLoopDisk, memoryFolder } from "./bench_disk.ts";
import type { Figure, MeasureOptions, Value } from "./figure.ts";
import { median, spreadOf } from "./statistics.ts";

const GiB = 2 ** 30;
const MiB = 2 ** 20;
const CHANGED_BYTES = 256 * MiB;
/** Changes lie apart by even distances, of another size on each disk. */
const EXTENT_BYTES = 64 << 10;
const POLL_MS = 5;

interface Disk {
  name: string;
  device: string;
  sizeBytes: number;
}

interface Bench {
  machine: Machine;
  folder: string;
  env: Record<string, string>;
  say: MeasureOptions["say"];
}

interface Flush {
  seconds: number;
  peakBytes: number;
}

type Flushes = Record<"large" | "small", Flush[]>;

export const FLUSH_AND_DISK_SIZE: Figure = { name: "flush and disk size", measure };

async function measure({ quick, say }: MeasureOptions): Promise<Value[]> {
  const machine = new Machine();
  try {
    const folder = memoryFolder(machine);
    const bench = { machine, folder, env: environmentOf(folder), say };
    machine.onClose(() => void ibackupJson(machine, ["track", "stop"], bench));
    ibackupJson(machine, ["init", "--no-encryption"], bench);
    const disks = { large: makeDisk(bench, quick ? 64 : 256), small: makeDisk(bench, 8) };
    const flushes: Flushes = { large: [], small: [] };
    for (let round = 0; round < (quick ? 2 : 9); round++) {
      // Large small, small large...: what drifts meanwhile falls on both alike.
      const order = ["large", "small"] as const;
      for (const which of round % 2 === 0 ? order : order.toReversed()) {
        change(disks[which]);
        flushes[which].push(await timedFlush(bench, disks[which]));
      }
    }
    return valuesOf(flushes, disks);
  } finally {
    machine.close();
  }
}

/** A tracked disk that has its base. */
function makeDisk({ machine, folder, env, say }: Bench, sizeGiB: number): Disk {
  const device = makeLoopDisk(machine, join(folder, `${sizeGiB}.img`), sizeGiB * GiB);
  ibackupJson(machine, ["track", "start", device], { env });
  const { type, durationMs } = ibackupJson<Flushed>(machine, ["flush", device], { env });
  if (type !== "base") throw new Error("the first flush is no base");
  say(`  base of ${sizeGiB} GiB: ${(durationMs / 1000).toFixed(1)} s`);
  return { name: `${sizeGiB} GiB`, device, sizeBytes: sizeGiB * GiB };
}

function valuesOf(flushes: Flushes, disks: { large: Disk; small: Disk }): Value[] {
  const largeSeconds = flushes.large.map(({ seconds }) => seconds);
  const smallSeconds = flushes.small.map(({ seconds }) => seconds);
  const ratios = largeSeconds.map((seconds, i) => seconds / (smallSeconds[i] ?? Number.NaN));
  const peaks = [...flushes.large, ...flushes.small].map(({ peakBytes }) => peakBytes / MiB);
  const time = { unit: " s", decimals: 2 };
  return [
    {
      name: `256 MiB changed on ${disks.large.name} / on ${disks.small.name}, median ratio of times`,
      measured: median(ratios),
      unit: "",
      decimals: 3,
      goal: { atMost: 1.1 },
      spread: spreadOf(ratios, 2),
    },
    {
      name: "peak memory of all flushes, helper included",
      measured: Math.max(...peaks),
      unit: " MiB",
      decimals: 0,
      goal: { atMost: 256 },
      spread: spreadOf(peaks, 0),
    },
    {
      name: `${disks.large.name}, median`,
      measured: median(largeSeconds),
      ...time,
      spread: spreadOf(largeSeconds, 2),
    },
    {
      name: `${disks.small.name}, median`,
      measured: median(smallSeconds),
      ...time,
      spread: spreadOf(smallSeconds, 2),
    },
  ];
}

/** Writes new random bytes to the same places as the last time. */
function change({ device, sizeBytes }: Disk): void {
  const bytes = alignedBytes(EXTENT_BYTES);
  const extentCount = CHANGED_BYTES / EXTENT_BYTES;
  const descriptor = openSync(device, constants.O_WRONLY | constants.O_DIRECT);
  try {
    for (let i = 0; i < extentCount; i++) {
      randomFillSync(bytes);
      writeSync(descriptor, bytes, 0, bytes.length, (sizeBytes / extentCount) * i);
    }
  } finally {
    closeSync(descriptor);
  }
}

async function timedFlush({ machine, env, say }: Bench, { name, device }: Disk): Promise<Flush> {
  const startedAt = performance.now();
  const child = startIbackup(machine, ["flush", device, "--json"], { env });
  let peakBytes = 0;
  const polling = setInterval(() => {
    peakBytes = Math.max(peakBytes, peakBytesOfTree(child.pid ?? 0));
  }, POLL_MS);
  if (child.stdout === null || child.stderr === null) throw new Error("flush has no output");
  const outputs = Promise.all([text(child.stdout), text(child.stderr)]);
  const [status] = await once(child, "close");
  const seconds = (performance.now() - startedAt) / 1000;
  clearInterval(polling);
  const [output, errors] = await outputs;
  if (status !== 0) throw new Error(`flush of ${name}: status ${status}\n${errors}`);
  refuseOther(JSON.parse(output) as Flushed);
  say(`  ${name}: ${seconds.toFixed(2)} s, ${(peakBytes / MiB).toFixed(0)} MiB of memory`);
  return { seconds, peakBytes };
}

/** A flush that did something else than is to be measured. */
function refuseOther({ gapCheck, blocksChanged }: Flushed): void {
  if (gapCheck.verdict !== "trusted" || blocksChanged !== CHANGED_BYTES / 4096) {
    throw new Error(`${blocksChanged} blocks changed; ${gapCheck.verdict}: ${gapCheck.reason}`);
  }
}
