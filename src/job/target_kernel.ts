/** The helper's arm on an open restore target. */
import type { TargetKernel } from "../disk/restore_target.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import type { JobContext } from "./context.ts";

/** @param descriptor Of the target; the helper inherits it, so no path is opened twice. */
export async function openTargetKernel(
  context: JobContext,
  descriptor: number,
): Promise<TargetKernel> {
  const path = await context.helper();
  const helper = new HelperProcess({ path, args: context.helperArgs, descriptor });
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
