/** Takes back what ibackup keeps on a machine. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { JobContext } from "./context.ts";
import { stopTracking } from "./track.ts";

/**
 * Detaches the hooks, and removes the runtime folder.
 *
 * @param withMemory Also the cache, and what the machine must not forget.
 * @returns The devices that were tracked, and the folders that were removed.
 * @throws IbackupError NOT_PERMITTED, TRACKER.
 */
export async function clearMachine(
  context: JobContext,
  withMemory: boolean,
): Promise<{ stopped: string[]; folders: string[] }> {
  const { stopped } = await stopTracking(context, []);
  const stateFolder = context.stateDir();
  const folders = [
    context.runtimeDir(),
    ...(withMemory ? [context.cacheDir(), stateFolder] : helpersIn(stateFolder)),
  ];
  for (const folder of folders) rmSync(folder, { recursive: true });
  return { stopped, folders };
}

/** Written out anew whenever one is needed. */
function helpersIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith("ibackup-helper"))
    .map((name) => join(folder, name));
}
