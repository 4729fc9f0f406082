import type { DaemonClient } from "../api/client.ts";
import { FREEZE_BUDGET, FREEZE_LIMIT, PASSES_MAX } from "../config/bounds.ts";
import type { Settings } from "../config/settings.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatInstant,
  parseDuration,
  parseShortDuration,
} from "../core/units.ts";
import { type ErrorCode, EXIT_STATUS, errorDocument, IbackupError } from "../errors.ts";
import type { DiskDecision } from "../job/due.ts";
import type { FlushResult } from "../job/flush.ts";
import { chooseDevices, newCommand, type Result, type Run, type Session } from "./command.ts";
import { Option } from "./commander.ts";
import { REPOSITORY_STATUSES } from "./exit_statuses.ts";
import { findDaemonFor, flushByDaemon } from "./flush_by_daemon.ts";
import { renderError } from "./render_error.ts";

export function flushCommand(run: Run) {
  return newCommand({
    name: "flush",
    summary: "back up what has changed since the last backup",
    details: [
      "The first backup of a disk is a base, the next ones are incrementals. Each DEVICE is backed up",
      "after the other (default: `disks` of the config file); when one fails, the others are still tried,",
      "and the exit status is that of the first failure. Prints the backup ids, one a line.",
      "With --if-due a device that waits is no failure; with --json it gives",
      '{"due": false, "why", "nextAt"}. The backup says which condition held: `ibackup show`.',
      "",
      "With --json one device gives one object; several give",
      '{"flushes": [{"device", "backupId", ...} or {"device", "error"}]}.',
      "",
      "What is written while a flush reads is read again, at last while the file systems of the disk are",
      "frozen. Hooks run by `/bin/sh -c` with IBACKUP_DEVICE and IBACKUP_MOUNTPOINTS (one a line); when",
      "pre-freeze or frozen fails, nothing is committed. After pre-freeze, post-thaw is run in any case.",
      "Where a daemon looks after the disk, and for this repository, the daemon does it.",
    ].join("\n"),
    examples: [
      "ibackup flush /dev/vda --repo file:///srv/backup",
      "ibackup flush --consistency quiet --json",
      "ibackup flush /dev/vda --wait=10m",
      "ibackup flush --if-due",
      "ibackup flush --consistency frozen --pre-freeze 'psql -c CHECKPOINT' --freeze-limit 5s",
    ],
    statuses: [...REPOSITORY_STATUSES, ...FLUSH_STATUSES],
  })
    .argument("[device...]", "disks or partitions")
    .option(
      "--disk <name>",
      "name of the disk in the repository (default: that of its last backup)",
    )
    .option("--base", "take a base, even where an incremental would do")
    .option("--scan", "compare the whole disk with the repository, whatever tracking says")
    .addOption(
      new Option("--consistency <least>", "the least that is accepted; less commits nothing")
        .choices(["frozen", "quiet", "fuzzy"] as const)
        .default("fuzzy" as const),
    )
    .option(
      "--wait [duration]",
      "wait until another flush or restore of the disk has ended (default: as long as it takes)",
    )
    .option("--freeze-limit <duration>", "no freeze is longer; 0: never freeze (default: 10s)")
    .option("--freeze-budget <duration>", "no freeze is planned to be longer (default: 200ms)")
    .option("--passes <count>", "most passes before freezing or giving up (default: 10)")
    .option("--pre-freeze <command>", "run before file systems are frozen")
    .option("--frozen <command>", "run while they are frozen; its time is within the limit")
    .option("--post-thaw <command>", "run when they are thawed, or pre-freeze or the flush failed")
    .option("--if-due", "only where the conditions of [trigger] in the config file hold")
    .action(async (names, { disk, base = false, scan = false, consistency, wait, ...given }) => {
      await run(async (session) => {
        const { named, waitMs } = separate(names, wait);
        const devices = chooseDevices(named, session.settings);
        if (disk !== undefined && devices.length > 1) throw ambiguousName(disk, devices.length);
        const freezing = freezeRequest(given, session.settings);
        const options = { base, scan, consistency, waitMs, ...freezing };
        const request = { ...options, ...(disk !== undefined && { diskName: disk }) };
        const policy = given.ifDue ? policyOf(session.settings) : undefined;
        const isOwn = wait !== undefined || given.ifDue === true || namesHooks(given);
        const daemon = isOwn ? undefined : await findDaemonFor(session, devices);
        const flushes = await flushAll(session, devices, { ...request, policy, daemon });
        return resultOf(flushes, session);
      });
    });
}

/** What follows `--wait` may be a device that is to be flushed, and no duration. */
function separate(
  names: readonly string[],
  wait: string | true | undefined,
): { named: readonly string[]; waitMs: number } {
  if (wait === undefined) return { named: names, waitMs: 0 };
  if (wait === true) return { named: names, waitMs: Number.POSITIVE_INFINITY };
  if (wait.includes("/")) return { named: [wait, ...names], waitMs: Number.POSITIVE_INFINITY };
  return { named: names, waitMs: parseDuration(wait) };
}

const FLUSH_STATUSES = [
  "NOT_PERMITTED",
  "DEVICE",
  "TRACKER",
  "LOCKED",
  "STORE_FULL",
  "CORRUPT_DATA",
  "CONSISTENCY",
  "HOOK",
  "UNSUPPORTED",
] as const satisfies readonly ErrorCode[];

/** Commands are run by whoever names them, in his own environment. */
function namesHooks({ preFreeze, frozen, postThaw }: FreezeArguments): boolean {
  return [preFreeze, frozen, postThaw].some((command) => command !== undefined);
}

interface FreezeArguments {
  freezeLimit?: string;
  freezeBudget?: string;
  passes?: string;
  preFreeze?: string;
  frozen?: string;
  postThaw?: string;
}

/** Arguments go before the config file. */
function freezeRequest(
  { freezeLimit, freezeBudget, passes, preFreeze, frozen, postThaw }: FreezeArguments,
  { freeze, hooks }: Settings,
): Pick<Request, "freeze" | "hooks"> {
  return {
    freeze: {
      ...freeze,
      ...(freezeLimit !== undefined && { limitMs: parseShortDuration(freezeLimit, FREEZE_LIMIT) }),
      ...(freezeBudget !== undefined && {
        budgetMs: parseShortDuration(freezeBudget, FREEZE_BUDGET),
      }),
      ...(passes !== undefined && { passesMax: parsePasses(passes) }),
    },
    hooks: {
      ...hooks,
      commands: {
        ...hooks.commands,
        ...(preFreeze !== undefined && { "pre-freeze": preFreeze }),
        ...(frozen !== undefined && { frozen }),
        ...(postThaw !== undefined && { "post-thaw": postThaw }),
      },
    },
  };
}

function parsePasses(text: string): number {
  const passes = Number(text);
  if (/^\d{1,4}$/.test(text) && passes >= 1 && passes <= PASSES_MAX) return passes;
  throw new IbackupError("USAGE", `Cannot use "${text}" as a number of passes`, {
    why: `it is not a whole number from 1 to ${PASSES_MAX}`,
    fix: "write for example --passes 10",
  });
}

type FlushRequest = Parameters<typeof import("../job/flush.ts").flushDevice>[1];
interface Request extends Omit<FlushRequest, "device" | "vmId" | "trigger"> {
  /** Does it instead of this process. */
  daemon: DaemonClient | undefined;
  /** With it, only what it says is due. */
  policy?: Settings["trigger"];
}
type Flushed = { device: string } & (
  | { result: FlushResult }
  | { error: unknown }
  | { decision: NotDue }
);
type NotDue = Extract<DiskDecision, { isDue: false }>;

function policyOf({ trigger }: Settings): NonNullable<Settings["trigger"]> {
  if (trigger !== undefined) return trigger;
  throw new IbackupError("USAGE", "Cannot tell whether a backup is due", {
    why: "the config file has no [trigger]",
    fix: 'write for example `[trigger]` and `every = "1h"` into it',
  });
}

async function flushAll(
  session: Session,
  devices: readonly string[],
  request: Request,
): Promise<Flushed[]> {
  const { context } = session;
  const flushes: Flushed[] = [];
  for (const device of devices) {
    try {
      flushes.push({ device, ...(await flushOne(session, device, request)) });
    } catch (error) {
      // One disk fails like any command; of several, the others still deserve their backup.
      if (devices.length === 1 || context.signal.aborted) throw error;
      flushes.push({ device, error });
      context.progress.message(renderError(error, context.version).trimEnd());
    }
  }
  return flushes;
}

async function flushOne(
  { context, settings }: Session,
  device: string,
  { policy, daemon, ...request }: Request,
): Promise<{ result: FlushResult } | { decision: NotDue }> {
  if (daemon !== undefined) {
    return { result: await flushByDaemon(context, daemon, { ...request, device }) };
  }
  const { flushDevice } = await import("../job/flush.ts");
  const { decideForDisk } = await import("../job/due.ts");
  const options = { ...request, device, vmId: settings.vmId };
  const decision = policy && (await decideForDisk(context, policy, options));
  if (decision?.isDue === false) return { decision };
  const result = await flushDevice(context, {
    ...options,
    ...(decision && { trigger: decision.why }),
  });
  if (result.hookFailure !== undefined) {
    context.progress.message(renderError(result.hookFailure, context.version).trimEnd());
  }
  return { result };
}

function resultOf(flushes: readonly Flushed[], { settings }: Session): Result {
  const done = flushes.flatMap((flush) => ("result" in flush ? [flush] : []));
  const failed = flushes.flatMap((flush) => ("error" in flush ? [flush.error] : []));
  const waiting = flushes.flatMap((flush) => ("decision" in flush ? [flush] : []));
  const [only] = flushes;
  const [error] = [...failed, ...done.flatMap(({ result }) => result.hookFailure ?? [])];
  return {
    json:
      flushes.length === 1 && only ? documentOf(only) : { flushes: flushes.map(namedDocumentOf) },
    text: done.map(({ result }) => result.backupId).join("\n"),
    note: settings.json ? "" : [...done.map(describe), ...waiting.map(describeWait)].join("\n"),
    ...(error !== undefined && { status: codeOf(error) }),
  };
}

function namedDocumentOf(flush: Flushed): object {
  return { device: flush.device, ...documentOf(flush) };
}

function documentOf(flush: Flushed): object {
  if ("result" in flush) return resultDocument(flush.result);
  if ("error" in flush) return errorDocument(flush.error);
  const { why } = flush.decision;
  return { due: false, why, nextAt: nextAt(flush.decision)?.toISOString() ?? null };
}

function nextAt({ atMs }: NotDue): Date | undefined {
  return atMs === null ? undefined : new Date(atMs);
}

/** "/dev/vda: not due before 2026-11-22 18:00:00Z: 1 h 0 min since the last backup". */
function describeWait({ device, decision }: { device: string; decision: NotDue }): string {
  const at = nextAt(decision);
  const until = at === undefined ? "" : ` before ${formatInstant(at)}`;
  return `${device}: not due${until}: ${decision.why}`;
}

/** With `error` when post-thaw failed: the backup is there all the same. */
function resultDocument({ hookFailure, ...result }: FlushResult): object {
  return { ...result, ...(hookFailure && errorDocument(hookFailure)) };
}

function codeOf(error: unknown): ErrorCode {
  const code = error instanceof IbackupError ? error.code : "INTERNAL";
  return code in EXIT_STATUS ? code : "INTERNAL";
}

/** "/dev/vda: incremental, frozen in 34 ms, 12 blocks changed, 48 KiB read, 20 KiB stored, in 1.2 s". */
function describe({ device, result }: { device: string; result: FlushResult }): string {
  const { freezeMs } = result;
  const parts = [
    result.type,
    result.consistency + (freezeMs === null ? "" : ` in ${formatDuration(freezeMs)}`),
    `${formatCount(result.blocksChanged, "block")} changed`,
    `${formatBytes(result.bytesRead)} read`,
    `${formatBytes(result.bytesStored)} stored`,
    `in ${formatDuration(result.durationMs)}`,
  ];
  const { verdict, reason } = result.gapCheck;
  return `${device}: ${parts.join(", ")} (${verdict}: ${reason})`;
}

function ambiguousName(disk: string, deviceCount: number): IbackupError {
  return new IbackupError("USAGE", `Cannot call ${deviceCount} disks "${disk}"`, {
    why: "a name in the repository stands for one disk",
    fix: "flush one device at a time, or leave --disk out",
  });
}
