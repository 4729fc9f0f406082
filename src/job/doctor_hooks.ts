/**
 * Do the hooks load, and do they fire? A scratch disk in memory is tracked, written to, and
 * collected. That happens in a session of its own, so that the machine's tracking is not touched.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describeDevice } from "../disk/block_device.ts";
import { openScratchDisk, type ScratchDisk } from "../disk/scratch_disk.ts";
import { assert } from "../errors.ts";
import { HelperProcess } from "../tracker/helper_process.ts";
import {
  attach,
  collect,
  detach,
  type HookName,
  readTrackingStatus,
  type Session,
  type Slot,
} from "../tracker/tracker.ts";
import type { JobContext } from "./context.ts";
import { type Finding, fail, failureOf, ok } from "./finding.ts";

/** The real session's pins lie beside it. */
const PINS = "/sys/fs/bpf/ibackup_doctor";
const DISK_BYTES = 16 << 20;
const BLOCK_WRITTEN = { block: 5, buffer: 9 } as const;

export async function checkHooks(context: JobContext): Promise<Finding[]> {
  const folder = join(context.runtimeDir(), "doctor");
  const helper = new HelperProcess({ path: await context.helper(), args: ["--pins", PINS] });
  try {
    await lock(helper, context);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // What a doctor that was killed has left.
    await detach(helper, undefined);
    const disk = openScratchDisk(join(folder, "disk.img"), DISK_BYTES);
    try {
      return await tryHooks(helper, disk, folder);
    } finally {
      await detach(helper, undefined);
      disk.close();
    }
  } catch (error) {
    return [failureOf("hooks", error)];
  } finally {
    rmSync(folder, { recursive: true, force: true });
    await helper.close();
  }
}

async function tryHooks(
  helper: HelperProcess,
  disk: ScratchDisk,
  folder: string,
): Promise<Finding[]> {
  const block = await tryHook(helper, { disk, folder, hook: "block" });
  const buffer = await tryHook(helper, { disk, folder, hook: "buffer" });
  // Only who asks for hook `buffer` needs it.
  return [block, buffer.verdict === "fail" ? { ...buffer, verdict: "warn" } : buffer];
}

interface Trial {
  disk: ScratchDisk;
  folder: string;
  hook: HookName;
}

/** Writes one block by the way that the hook watches, and looks whether it is dirty. */
async function tryHook(helper: HelperProcess, trial: Trial): Promise<Finding> {
  const check = `hook ${trial.hook}`;
  try {
    const slot = await attach(helper, describeDevice(trial.disk.path), [trial.hook]);
    const { session } = await readTrackingStatus(helper);
    assert(session !== undefined, "what was attached a moment ago has a session");
    const sawIt = await seesWrite(helper, { slot, session: session.id }, trial);
    await detach(helper, undefined);
    if (sawIt) return ok(check, describe(trial.hook, session));
    return fail(check, "it is attached, and does not see a write to a scratch disk", REPORT);
  } catch (error) {
    return failureOf(check, error);
  }
}

async function seesWrite(
  helper: HelperProcess,
  from: { slot: Slot; session: string },
  { disk, folder, hook }: Trial,
): Promise<boolean> {
  const block = BLOCK_WRITTEN[hook];
  disk.write(block * from.slot.blockBytes, from.slot.blockBytes, { direct: hook === "block" });
  const pendingFile = join(folder, `${hook}.bits`);
  writeFileSync(pendingFile, new Uint8Array(Math.ceil(from.slot.blockCount / 64) * 8));
  const { blocks } = await collect(helper, from, [pendingFile]);
  return blocks?.has(block) === true;
}

function describe(hook: HookName, { bpfObject, bufferHook }: Session): string {
  const how = hook === "buffer" ? `as a ${bufferHook}` : `with the ${bpfObject} programs`;
  return `loads ${how}, and sees a write to a scratch disk`;
}

async function lock(helper: HelperProcess, context: JobContext): Promise<void> {
  const folder = join(context.runtimeDir(), "locks");
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fields = { shared: 0, waitMs: 2_000 };
  await helper.ask({ name: "lockRequest", fields, tail: join(folder, "doctor") });
}

const REPORT =
  "run `ibackup flush --scan` until this is understood; README.md says where to report";
