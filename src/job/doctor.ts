/**
 * Can this machine track its disks and reach the store, and what is to be done where not?
 * Every check tries the thing itself where it can, and leaves nothing behind.
 */
import type { JobContext } from "./context.ts";
import { checkDisks, checkFreezing, checkMemory } from "./doctor_disks.ts";
import { checkHooks } from "./doctor_hooks.ts";
import {
  checkBpffs,
  checkBtf,
  checkKernel,
  checkRights,
  checkRuntimeFolder,
} from "./doctor_kernel.ts";
import { checkStore, type StoreQuestions } from "./doctor_store.ts";
import { type Finding, failureOf } from "./finding.ts";

export interface Diagnosis {
  /** False when something will stop a backup. */
  healthy: boolean;
  findings: Finding[];
}

export interface DoctorOptions extends StoreQuestions {
  /** Disks to look at; none: all that the machine has, and no fault of theirs is a failure. */
  devices: readonly string[];
}

/** @throws Only when interrupted, or for a bug: whatever the machine lacks is a finding. */
export async function diagnose(context: JobContext, options: DoctorOptions): Promise<Diagnosis> {
  const checks: [string, () => Finding[] | Promise<Finding[]>][] = [
    ["kernel", () => [checkKernel()]],
    ["BTF", () => [checkBtf()]],
    ["rights", () => [checkRights()]],
    ["bpffs", () => [checkBpffs()]],
    ["runtime folder", () => [checkRuntimeFolder(context)]],
    ["disks", () => checkDisks(options.devices)],
    ["freezing", () => [checkFreezing(options.devices)]],
    ["memory", () => [checkMemory(options.devices)]],
    ["hooks", () => checkHooks(context)],
    ["store", () => checkStore(context, options)],
  ];
  const findings: Finding[] = [];
  for (const [check, run] of checks) {
    context.signal.throwIfAborted();
    try {
      findings.push(...(await run()));
    } catch (error) {
      findings.push(failureOf(check, error));
    }
  }
  return { healthy: findings.every(({ verdict }) => verdict !== "fail"), findings };
}
