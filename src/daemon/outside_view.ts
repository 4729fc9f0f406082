/** The status of a machine on which no daemon runs. */
import type { StatusDocument } from "../api/schemas.ts";
import { safeUrl } from "../config/safe_url.ts";
import type { Settings } from "../config/settings.ts";
import { IbackupError } from "../errors.ts";
import type { JobContext } from "../job/context.ts";
import { type DiskView, lookAtDisks } from "../job/disk_view.ts";
import { readDiskFacts } from "../job/due.ts";
import { type AlarmKind, Alarms } from "./alarms.ts";
import { KeptDisk } from "./kept_disk.ts";

/** @throws IbackupError NOT_PERMITTED; what else fails, is an alarm in the status. */
export async function statusFromOutside(
  context: JobContext,
  settings: Settings,
): Promise<StatusDocument> {
  const { clock } = context;
  const { repo, trigger, vmId } = settings;
  const alarms = new Alarms(
    () => clock.now(),
    () => undefined,
  );
  const nowMs = clock.now().getTime();
  const disks: StatusDocument["disks"] = [];
  for (const view of await views(context, settings, alarms)) {
    const { device, failure } = view;
    const disk = new KeptDisk(device);
    if (failure !== undefined) alarms.raise("disk", device, failure);
    else if (view.slot === undefined) alarms.raise("tracking", device, notTracked(device));
    disk.facts = await attempt(alarms, "store", () => readDiskFacts(context, { device, vmId }));
    disk.see(view);
    disks.push(disk.document(disk.decide(trigger, vmId, nowMs), nowMs));
  }
  const place = repo === undefined ? null : safeUrl(repo);
  return { daemon: null, repo: place, vmId, disks, chores: [], alarms: alarms.list };
}

async function views(
  context: JobContext,
  { disks }: Settings,
  alarms: Alarms,
): Promise<DiskView[]> {
  return (await attempt(alarms, "tracking", () => lookAtDisks(context, disks))) ?? [];
}

async function attempt<T>(
  alarms: Alarms,
  kind: AlarmKind,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof IbackupError) || error.code === "NOT_PERMITTED") throw error;
    alarms.raise(kind, null, error);
    return undefined;
  }
}

function notTracked(device: string): IbackupError {
  return new IbackupError("TRACKER", `"${device}" is not tracked`, {
    why: "it was not asked for, or not since the machine was started",
    fix: `run \`ibackup track start ${device}\`; until then a backup compares the whole disk`,
  });
}
