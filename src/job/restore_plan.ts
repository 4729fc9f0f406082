/** What a restore would do, told before it is done; and whether that still holds. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../core/manifest.ts";
import { formatBytes } from "../core/units.ts";
import type { BlockDevice } from "../disk/block_device.ts";
import { busy } from "../disk/target_refusals.ts";
import { IbackupError } from "../errors.ts";
import type { JobContext } from "./context.ts";
import { SILENT_PROGRESS } from "./progress.ts";
import { lookAtRestorePlace } from "./restore_places.ts";
import { prepareRestore } from "./restore_prepare.ts";
import { isBlockDevice, refuseObstacle, refuseTarget, sectorLoss } from "./restore_target.ts";
import type { RestoreOptions } from "./restore_task.ts";

export interface RestorePlan {
  backupId: string;
  vmId: string;
  disk: string;
  /** RFC 3339, UTC. */
  capturedAt: string;
  sizeBytes: number;
  chainLength: number;
  target: { path: string; kind: "disk" | "file"; sizeBytes: number; contents: string[] };
  /** With `changedOnly`: at most. */
  bytesToWrite: number;
  bytesToZero: number;
  bytesToFetch: number;
  /** What is lost, in words. */
  losses: string[];
  /** What is odd about the backup, in words. */
  warnings: string[];
  /** Tells whether the target is still what was looked at. */
  fingerprint: string;
}

/** @throws IbackupError as `restoreBackup` does, as far as that can be known before. */
export async function planRestore(
  context: JobContext,
  options: RestoreOptions,
): Promise<RestorePlan> {
  const warnings: string[] = [];
  const progress = { ...SILENT_PROGRESS, message: (text: string) => void warnings.push(text) };
  const restore = await prepareRestore({ ...context, progress }, options);
  const { manifest, chain, plan } = restore;
  await refuseTarget(restore);
  const { sizeBytes } = manifest.disk;
  const target = await lookAtTarget(context, options.target);
  return {
    ...{ backupId: manifest.backupId, vmId: manifest.vmId, disk: manifest.disk.name },
    ...{ capturedAt: manifest.capturedAt, sizeBytes, chainLength: chain.length },
    target: {
      ...{ path: options.target, kind: target.kind, contents: target.contents },
      sizeBytes: target.sizeBytes ?? sizeBytes,
    },
    bytesToWrite: plan.dataBlocks * manifest.blockBytes,
    // A new file is made of holes.
    bytesToZero: target.sizeBytes === undefined ? 0 : plan.zeroBlocks * manifest.blockBytes,
    bytesToFetch: plan.bytesFetched,
    losses: lossesOf(target, manifest),
    warnings,
    fingerprint: target.fingerprint,
  };
}

/**
 * Looks at the target of a plan again.
 *
 * @param opened Leads to it for certain, once it is open.
 * @throws IbackupError TARGET_BUSY when it is not what it was, or cannot be written to any more.
 */
export async function checkPlan(
  context: JobContext,
  { target: { path }, fingerprint }: Pick<RestorePlan, "target" | "fingerprint">,
  opened = path,
): Promise<void> {
  const now = await lookAtTarget(context, path, opened);
  if (now.fingerprint === fingerprint) return;
  const why = "it is not what it was when the restore was planned";
  throw busy(path, why, "plan it again, and read anew what is lost");
}

interface Target {
  path: string;
  kind: "disk" | "file";
  /** Undefined for a file that is not there. */
  sizeBytes: number | undefined;
  contents: string[];
  fingerprint: string;
  device?: BlockDevice;
}

async function lookAtTarget(context: JobContext, path: string, opened = path): Promise<Target> {
  if (!isBlockDevice(opened)) return lookAtFile(path, opened);
  const place = await lookAtRestorePlace(context, path, opened);
  const { sizeBytes, contents, device, obstacle } = place;
  refuseObstacle(path, obstacle);
  const { major, minor, diskSequence } = device;
  const identity = [major, minor, diskSequence, sizeBytes, contents];
  const fingerprint = JSON.stringify(identity);
  return { path, kind: "disk", sizeBytes, contents, fingerprint, device };
}

function lookAtFile(path: string, opened: string): Target {
  const stats = statSync(opened, { throwIfNoEntry: false });
  const folder = statSync(join(path, ".."), { throwIfNoEntry: false });
  if (!folder?.isDirectory()) {
    throw new IbackupError("IO", `Cannot restore to "${path}"`, {
      why: "there is no such folder",
      fix: "make it first, or name another target",
    });
  }
  const sizeBytes = stats?.size;
  const identity = [folder.dev, folder.ino, stats?.dev, stats?.ino, sizeBytes, stats?.mtimeMs];
  const contents = stats === undefined ? [] : ["a file"];
  return { path, kind: "file", sizeBytes, contents, fingerprint: JSON.stringify(identity) };
}

function lossesOf(target: Target, manifest: Manifest): string[] {
  const { path, kind, contents, sizeBytes, device } = target;
  const backupBytes = manifest.disk.sizeBytes;
  if (sizeBytes === undefined) return [];
  if (kind === "file") return [`what the file ${path} holds now`];
  const sectors = device && sectorLoss(manifest, device);
  const rest = sizeBytes - backupBytes;
  const what = rest > 0 ? `the first ${formatBytes(backupBytes)} of ${path}` : `all of ${path}`;
  const kept =
    rest > 0 ? [`the last ${formatBytes(rest)} stay as they are, without what led to them`] : [];
  return [
    `${what}, whatever is there`,
    ...contents.map((each) => `what was recognised there: ${each}`),
    ...kept,
    ...(sectors === undefined
      ? []
      : [`what needs sectors of another size: ${path} has ${sectors}`]),
  ];
}
