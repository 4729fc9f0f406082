/** A flush that the daemon does, told as if this process had done it. */
import type { DaemonClient } from "../api/client.ts";
import type { FlushRequest } from "../api/schemas.ts";
import { safeUrl } from "../config/safe_url.ts";
import { type ErrorDocument, IbackupError } from "../errors.ts";
import type { JobContext } from "../job/context.ts";
import type { FlushResult } from "../job/flush.ts";
import type { FlushOptions } from "../job/flush_task.ts";
import type { Session } from "./command.ts";

/** @returns The daemon that looks after these disks, for the same repository and VM, if any. */
export async function findDaemonFor(
  { context, settings }: Session,
  devices: readonly string[],
): Promise<DaemonClient | undefined> {
  if (settings.repo === undefined || settings.hasUploadLimitArgument) return undefined;
  const { findDaemon } = await import("../api/client.ts");
  const daemon = await findDaemon(context.runtimeDir());
  if (daemon === undefined) return undefined;
  const { daemon: its, repo, vmId, disks } = await daemon.status();
  const kept = new Set(disks.map(({ device }) => device));
  const isSamePlace = repo === safeUrl(settings.repo) && vmId === settings.vmId;
  const isSame = isSamePlace && its?.configFile === (settings.configFile ?? null);
  return isSame && devices.every((device) => kept.has(device)) ? daemon : undefined;
}

/** @throws IbackupError as the flush itself would. */
export async function flushByDaemon(
  { progress, signal }: JobContext,
  daemon: DaemonClient,
  { device, diskName, base, scan, consistency, freeze }: Omit<FlushOptions, "vmId">,
): Promise<FlushResult> {
  const { failureOf } = await import("../api/client.ts");
  const asked: FlushRequest = { devices: [device], diskName, base, scan, consistency, freeze };
  const bar = new RemoteProgress(progress);
  for await (const flush of daemon.flush(asked, { onChange: (it) => bar.take(it), signal })) {
    progress.end();
    if (flush.failure !== null) throw failureOf(flush.failure);
    const { error, ...result } = flush.result as unknown as FlushResult & Partial<ErrorDocument>;
    return { ...result, hookFailure: error && failureOf(error) };
  }
  throw new IbackupError("IO", `Cannot tell how the flush of "${device}" ended`, {
    why: "the daemon answered with none",
    fix: "see `ibackup list` and the daemon's log",
  });
}

type Flush = Parameters<Parameters<DaemonClient["flush"]>[1]["onChange"]>[0];

/** Draws what the daemon says as the flush itself would. */
class RemoteProgress {
  readonly #progress: JobContext["progress"];
  #label: string | undefined;
  #doneBytes = 0;
  #messagesTold = 0;

  constructor(progress: JobContext["progress"]) {
    this.#progress = progress;
  }

  take({ progress, messages }: Flush): void {
    for (const text of messages.slice(this.#messagesTold)) this.#progress.message(text);
    this.#messagesTold = messages.length;
    if (progress === null) return;
    if (progress.label !== this.#label || progress.doneBytes < this.#doneBytes) {
      this.#progress.begin(progress.label, progress.totalBytes);
      this.#label = progress.label;
      this.#doneBytes = 0;
    }
    this.#progress.advance(progress.doneBytes - this.#doneBytes);
    this.#doneBytes = progress.doneBytes;
  }
}
