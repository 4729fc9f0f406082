/** Writes to a file system in each way, and finds which changed blocks were reported. */
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BlockSet } from "../../src/core/block_set.ts";
import { Machine, run } from "../../test/support/machine.ts";
import { DiskImage } from "./disk_image.ts";
import type { FileSystem } from "./file_systems.ts";
import { TwoHooks } from "./tracker.ts";
import { DISK_WRITES, FILE_WRITES, type Write } from "./writes.ts";

/** mkfs.xfs wants 300 MiB. */
const DISK_BYTES = 384 << 20;
const CONTENT_BYTES = 4 << 20;

export interface Coverage {
  kind: string;
  /** Undefined when the file system does not offer this. Counts of blocks, and of reports. */
  result: { changed: number; byBlock: number; byBuffer: number; invalid: number } | undefined;
}

interface Bench {
  machine: Machine;
  device: string;
  fileSystem: FileSystem;
  hooks: TwoHooks;
  image: DiskImage;
}

export interface Measured {
  coverages: Coverage[];
  /** What the hook `buffer` is on this kernel. */
  bufferHook: TwoHooks["bufferHook"];
  /** Reasons for which ibackup would have compared the whole disk. */
  taints: string[];
}

export async function measureFileSystem(fileSystem: FileSystem): Promise<Measured> {
  const machine = new Machine();
  try {
    const device = machine.loopDisk("disk", DISK_BYTES);
    for (const name of ["old", "new"])
      writeFileSync(machine.path(name), randomBytes(CONTENT_BYTES));
    fileSystem.make?.(device);
    const hooks = await TwoHooks.attach(device, join(machine.runtimeFolder, "pending"));
    try {
      const bench = {
        machine,
        device,
        fileSystem,
        hooks,
        image: new DiskImage(device, DISK_BYTES),
      };
      const coverages: Coverage[] = [];
      for (const write of fileSystem.make ? FILE_WRITES : DISK_WRITES) {
        coverages.push(await measure(bench, write));
      }
      return { coverages, bufferHook: hooks.bufferHook, taints: hooks.taints };
    } finally {
      await hooks.close();
    }
  } finally {
    machine.close();
  }
}

/**
 * A write that ends between the collect and the first look at the disk is reported although
 * nothing differs; the other way round cannot be.
 */
async function measure(bench: Bench, write: Write): Promise<Coverage> {
  const { hooks, image, machine, device, fileSystem } = bench;
  const { kind } = write;
  const mountpoint = fileSystem.make
    ? machine.mount(device, ...fileSystem.mountOptions)
    : undefined;
  const folder = mountpoint ?? machine.folder;
  const file = mountpoint ? join(mountpoint, kind.replaceAll(/\W+/g, "-")) : device;
  const script = (text: string): Outcome => runScript(text, { machine, folder, file });

  const prepared = script(`${write.prepare}\nsync`);
  if (!prepared.ok) throw new Error(`cannot prepare "${kind}": ${prepared.stderr}`);
  await hooks.collect();
  await image.refresh();

  const changed = script(`${write.change}\nsync`);
  if (mountpoint) machine.unmount(mountpoint);
  run("sync");
  const different = await image.refresh();
  const reported = await hooks.collect();

  if (!changed.ok) {
    if (/not supported|unsupported|Invalid argument/.test(changed.stderr))
      return { kind, result: undefined };
    throw new Error(`cannot do "${kind}" on ${fileSystem.name}: ${changed.stderr}`);
  }
  return {
    kind,
    result: {
      changed: different.count(),
      byBlock: countCommon(different, reported.byBlock),
      byBuffer: countCommon(different, reported.byBuffer),
      invalid: reported.invalid,
    },
  };
}

interface Outcome {
  ok: boolean;
  stderr: string;
}

function runScript(
  text: string,
  { machine, folder, file }: { machine: Machine; folder: string; file: string },
): Outcome {
  const env = {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    LC_ALL: "C",
    old: machine.path("old"),
    new: machine.path("new"),
    file,
  };
  const { status, stderr } = spawnSync("bash", ["-euo", "pipefail", "-c", text], {
    cwd: folder,
    env,
    encoding: "utf8",
  });
  return { ok: status === 0, stderr };
}

function countCommon(changed: BlockSet, reported: BlockSet): number {
  let common = 0;
  for (const { firstBlock, blockCount } of changed.extents()) {
    for (let i = 0; i < blockCount; i++) if (reported.has(firstBlock + i)) common++;
  }
  return common;
}
