/** The helper's arm on an open restore target. */
import { fstatSync } from "node:fs";
import { geteuid } from "node:process";
import type { BlockDevice } from "../disk/block_device.ts";
import type { TargetKernel } from "../disk/restore_target.ts";
import { IbackupError } from "../errors.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import type { JobContext } from "./context.ts";
import { lockDevice, lockFile } from "./device_lock.ts";

/**
 * Also locks the target until it is closed: what is half restored is not to be backed up, nor to be
 * restored to by somebody else.
 *
 * @param target A device, or the path of a file.
 * @param descriptor Of the target; the helper inherits it, so no path is opened twice.
 * @throws IbackupError LOCKED when a flush reads the device, or another restore writes to it.
 */
export async function openTargetKernel(
  context: JobContext,
  target: BlockDevice | string,
  descriptor: number,
): Promise<TargetKernel> {
  const path = await context.helper();
  const helper = new HelperProcess({ path, args: context.helperArgs, descriptor });
  try {
    if (canLock(context)) {
      await (typeof target === "string"
        ? lockFile(context, helper, { path: target, stats: fstatSync(descriptor) })
        : lockDevice(context, helper, { device: target, waitMs: 0 }));
    }
  } catch (error) {
    await helper.close();
    throw error;
  }
  return {
    zeroRange: async (offset, length) => {
      await helper.ask({ name: "zeroRangeRequest", fields: { offset, length } });
    },
    rereadPartitions: async () => {
      await helper.ask({ name: "rereadPartitionsRequest", fields: {} });
    },
    close: () => helper.close(),
  };
}

/**
 * False where there can be no lock file. A rescue system without tmpfs cannot flush either; and a
 * user who may write to a device without being root may do so with any program.
 */
function canLock(context: JobContext): boolean {
  try {
    context.runtimeDir();
    return true;
  } catch (error) {
    if (!(error instanceof IbackupError)) throw error;
    if (error.code !== "UNSUPPORTED" && geteuid?.() === 0) throw error;
    context.progress.message(`the target is not locked against flushes: ${error.why}`);
    return false;
  }
}
