/**
 * Keeps the processes of one machine out of each other's way on a block device.
 *
 * A lock file stands for each device. Who reads or overwrites a device as a whole has its lock for
 * himself, and shares the locks of all that the device lies on. So a disk and its partitions exclude
 * each other, as do a logical volume and the disks below it (they freeze the same file systems, and
 * a restore overwrites them), while two partitions of one disk do not. A lock that is shared is taken
 * before one that is not, bottom first: nobody waits for somebody who waits for him.
 */
import { mkdirSync, type Stats } from "node:fs";
import { join } from "node:path";
import { type BlockDevice, type DeviceNumber, devicesBelow } from "../disk/block_device.ts";
import { IbackupError } from "../errors.ts";
import type { HelperProcess } from "../tracker/helper_process.ts";
import type { JobContext } from "./context.ts";

/**
 * The helper of an ibackup that was killed holds its locks until it has finished what it was at, so
 * a lock is only said to be held when it stays so.
 */
const LEAST_WAIT_MS = 2_000;
/** The helper answers nothing while it waits: an interruption is heard after this. */
const SLICE_MS = 250;

/**
 * Locks a device. The locks are the helper's, and go when it ends.
 *
 * @param waitMs How long to wait for others to end; Infinity for as long as it takes.
 * @returns The lock file of the device itself.
 * @throws IbackupError LOCKED, or the reason of the context's signal.
 */
export async function lockDevice(
  context: JobContext,
  helper: HelperProcess,
  { device, waitMs }: { device: BlockDevice; waitMs: number },
): Promise<string> {
  const folder = lockFolder(context);
  const fileOf = ({ major, minor }: DeviceNumber): string => join(folder, `${major}-${minor}`);
  const waiter = new Waiter(context, { path: device.path, waitMs });
  for (const below of devicesBelow(device)) {
    await waiter.lock(helper, { file: fileOf(below), shared: true });
  }
  await waiter.lock(helper, { file: fileOf(device), shared: false });
  return fileOf(device);
}

/**
 * Locks a file that is overwritten as a whole, whatever its names.
 *
 * @throws IbackupError LOCKED, or the reason of the context's signal.
 */
export async function lockFile(
  context: JobContext,
  helper: HelperProcess,
  { path, stats: { dev, ino } }: { path: string; stats: Pick<Stats, "dev" | "ino"> },
): Promise<void> {
  const file = join(lockFolder(context), `file-${dev}-${ino}`);
  await new Waiter(context, { path, waitMs: 0 }).lock(helper, { file, shared: false });
}

function lockFolder(context: JobContext): string {
  const folder = join(context.runtimeDir(), "locks");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  return folder;
}

class Waiter {
  readonly #context: JobContext;
  readonly #path: string;
  readonly #toldAtMs: number;
  readonly #endsAtMs: number;
  #hasTold = false;

  constructor(context: JobContext, { path, waitMs }: { path: string; waitMs: number }) {
    const startedMs = context.clock.monotonicMs();
    this.#context = context;
    this.#path = path;
    this.#toldAtMs = startedMs + LEAST_WAIT_MS;
    this.#endsAtMs = startedMs + Math.max(waitMs, LEAST_WAIT_MS);
  }

  async lock(helper: HelperProcess, { file, shared }: { file: string; shared: boolean }) {
    const fields = { shared: Number(shared), waitMs: SLICE_MS };
    for (;;) {
      this.#context.signal.throwIfAborted();
      try {
        await helper.ask({ name: "lockRequest", fields, tail: file });
        return;
      } catch (error) {
        if (!(error instanceof IbackupError && error.code === "LOCKED")) throw error;
        this.#refuseOrTell();
      }
    }
  }

  #refuseOrTell(): void {
    const nowMs = this.#context.clock.monotonicMs();
    if (nowMs >= this.#endsAtMs) throw lockedError(this.#path);
    if (nowMs < this.#toldAtMs || this.#hasTold) return;
    this.#hasTold = true;
    this.#context.progress.message(`waiting for another ibackup to end its work on ${this.#path}`);
  }
}

function lockedError(path: string): IbackupError {
  return new IbackupError("LOCKED", `Cannot work on "${path}"`, {
    why: "another ibackup on this machine is backing it up or restoring to it, or to a disk or partition below or above it",
    fix: "wait until it has ended, then run the command again; `ibackup flush --wait` waits by itself",
  });
}
